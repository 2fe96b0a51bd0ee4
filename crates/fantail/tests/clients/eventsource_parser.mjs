// `fetch`, and `eventsource-parser` as a stream: eventsource_parser.mjs URL [BODY]. With a body it POSTs.

import { EventSourceParserStream } from 'eventsource-parser/stream';
import { done, say } from './say.mjs';

const [url, body] = process.argv.slice(2);
const headers = { Accept: 'text/event-stream', 'Content-Type': 'application/json' };
try {
  const response = await fetch(url, body ? { method: 'POST', body, headers } : { headers });
  say('open');
  const events = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream({ onError: 'terminate', onRetry: (retry) => say('retry', { retry }) }));
  for await (const { event, data, id } of events) say('event', { type: event ?? 'message', data, id: id ?? '' });
  say('end');
} catch (error) {
  say('error', { reason: String(error) });
}
done();
