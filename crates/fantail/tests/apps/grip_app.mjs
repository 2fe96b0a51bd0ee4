// An application that holds its requests with @fanoutio/serve-grip: `grip_app.mjs CONTROL_URL KEY`.
//
// It prints its port and serves until it is killed. `GET /stream/CHANNEL` and `GET /poll/CHANNEL` are held; what is POSTed to
// them is published, `POST /close/CHANNEL` closes the streams.

import { createServer } from "node:http";

import { HttpResponseFormat, HttpStreamFormat } from "@fanoutio/grip";
import { ServeGrip } from "@fanoutio/serve-grip/node";

const [controlUrl, key] = process.argv.slice(2);
const serveGrip = new ServeGrip({ grip: { control_uri: controlUrl, control_iss: "node", key }, gripProxyRequired: true });

async function body(request) {
    let text = "";
    for await (const chunk of request) text += chunk;
    return text;
}

async function handle(request, response) {
    const [, action, channel] = new URL(request.url, "http://localhost").pathname.split("/").map(decodeURIComponent);
    const publisher = serveGrip.getPublisher();
    if (request.method === "POST") {
        const text = await body(request);
        if (action === "stream") await publisher.publishHttpStream(channel, `data: ${text}\n\n`);
        if (action === "poll") await publisher.publishHttpResponse(channel, new HttpResponseFormat({ body: text }));
        if (action === "close") await publisher.publishHttpStream(channel, new HttpStreamFormat(null, true));
        return response.end("published\n");
    }
    if (!(await serveGrip.run(request, response))) return;
    const instruct = response.grip.startInstruct();
    instruct.addChannel(channel);
    if (action === "stream") {
        instruct.setHoldStream();
        instruct.setKeepAlive("event: keep-alive\ndata:\n\n", 20);
        response.writeHead(200, { "Content-Type": "text/event-stream" });
        return response.end("event: open\ndata:\n\n");
    }
    instruct.setHoldLongPoll(Number(new URL(request.url, "http://localhost").searchParams.get("timeout") ?? 20));
    response.writeHead(200, { "Content-Type": "text/plain" });
    response.end("nothing\n");
}

const server = createServer((request, response) => {
    handle(request, response).catch((error) => {
        response.statusCode = 500;
        response.end(`${error.stack ?? JSON.stringify(error)}\n`);
    });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
