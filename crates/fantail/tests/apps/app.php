<?php
// An application of PHP on its built-in server, with `zlib.output_compression`. It notices that a client left when it writes.
// README.md beside this file says what applications serve.

// Its processes meet in a file: it is there while a stream waits for a `POST /step`.
$waiting = getenv('TMPDIR') . '/waiting';

function push(string $text): void
{
    echo $text;
    // The compression, or a buffer of the configuration's.
    while (ob_get_level() > 0 && !in_array('zlib output compression', ob_list_handlers())) {
        ob_end_flush();
    }
    if (ob_get_level() > 0) {
        ob_flush();
    }
    flush();
}

function start_stream(): void
{
    header('Content-Type: text/event-stream');
    header('Access-Control-Allow-Origin: *');
    push('');
}

function event(int $k): string
{
    return "id: $k\ndata: event $k: grüße 🦜\n\n";
}

function step(): void
{
    global $waiting;
    touch($waiting);
    do {
        usleep(5000);
        clearstatcache();
    } while (file_exists($waiting));
}

switch (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)) {
    case '/events':
        start_stream();
        for ($k = 0; $k < (int) $_GET['n']; $k++) {
            if ($k > 0) {
                usleep(1000 * (int) $_GET['gap']);
            }
            push(event($k));
        }
        break;

    case '/steps':
        start_stream();
        for ($k = 0; $k < (int) $_GET['n']; $k++) {
            step();
            push(event($k));
        }
        step();
        break;

    case '/step':
        http_response_code(@unlink($waiting) ? 204 : 409);
        break;

    case '/forever':
        register_shutdown_function(fn () => file_put_contents('php://stdout', "gone\n"));
        start_stream();
        push(event(0));
        while (true) {
            usleep(50000);
            push(": tick\n\n");
        }

    case '/llm':
        $prompt = json_decode(file_get_contents('php://input'))->prompt;
        start_stream();
        foreach (explode(' ', $prompt) as $word) {
            step();
            push('data: ' . json_encode(['choices' => [['delta' => ['content' => $word]]]]) . "\n\n");
        }
        push("data: [DONE]\n\n");
        break;

    case '/page':
        setcookie('first', '1', ['httponly' => true]);
        setcookie('second', '2');
        header('Content-Type: application/json');
        echo json_encode(['page' => str_repeat('x', 1024)]);
        break;

    case '/echo':
        header('Content-Type: ' . $_SERVER['CONTENT_TYPE']);
        echo file_get_contents('php://input');
        break;

    case '/big':
        header('Content-Type: application/octet-stream');
        for ($line = 0; $line < 64 * 8192; $line++) {
            printf("%07d\n", $line);
        }
        break;

    default:
        http_response_code(404);
}
