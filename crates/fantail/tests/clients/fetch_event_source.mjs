// `@microsoft/fetch-event-source`: fetch_event_source.mjs URL [BODY]. With a body it POSTs.

import { done, say } from './say.mjs';

// It is written for browsers.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import('@microsoft/fetch-event-source');

const [url, body] = process.argv.slice(2);
const post = { method: 'POST', body, headers: { 'Content-Type': 'application/json' } };
try {
  await fetchEventSource(url, {
    ...(body && post),
    async onopen() {
      say('open');
    },
    onmessage: ({ event, data, id }) => say('event', { type: event || 'message', data, id }),
    onclose: () => say('end'),
    // Thrown on, it does not ask again.
    onerror(error) {
      throw error;
    },
  });
} catch (error) {
  say('error', { reason: String(error) });
}
done();
