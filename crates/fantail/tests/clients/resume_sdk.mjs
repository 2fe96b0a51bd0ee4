// The `openai` and `@anthropic-ai/sdk` SDKs on recorded routes: resume_sdk.mjs BASE. Of apps/llm.mjs each is asked for a stream
// that it loses and takes up again at its URL; for one that a second viewer stops; and twice at once for one under one key.

import Anthropic from '@anthropic-ai/sdk';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import OpenAI from 'openai';
import { done, say } from './say.mjs';

const [base] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey: 'of a test', maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: base, apiKey: 'of a test', maxRetries: 0 });
const messages = [{ role: 'user', content: 'hello' }];

// What both SDKs send.
const headers = { Authorization: 'Bearer of a test' };

const apis = {
  chat: (model, options) => openai.chat.completions.create({ model, messages, stream: true }, options),
  messages: (model, options) => anthropic.messages.create({ model, max_tokens: 16, messages, stream: true }, options),
};

// What the SDKs keep to themselves.
const isKept = ({ event, data }) => event === 'ping' || data === '[DONE]';

async function watch(url, first = () => {}) {
  const answer = await fetch(url, { headers });
  const events = answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  for await (const event of events) {
    if (!isKept(event)) say('event', { data: JSON.parse(event.data) });
    await first();
  }
  say('end', { status: answer.status });
}

for (const [name, ask] of Object.entries(apis)) {
  const begin = async (model, options) => {
    const { data, response } = await ask(model, options).withResponse();
    return { stream: data, url: new URL(response.headers.get('fantail-stream'), base) };
  };

  say('begin', { what: `${name} lost` });
  const lost = await begin('steps');
  for await (const data of lost.stream) {
    say('event', { data });
    break;
  }
  await watch(`${lost.url}?offset=1`);

  say('begin', { what: `${name} stopped` });
  const stopped = await begin('endless');
  await watch(stopped.url, () => fetch(stopped.url, { method: 'DELETE', headers }));
  for await (const data of stopped.stream) say('event', { data });
  say('end', { status: (await fetch(`${stopped.url}?offset=1`, { headers })).status });
  say('end', { status: (await fetch(stopped.url)).status });

  say('begin', { what: `${name} twice` });
  const options = { headers: { 'Idempotency-Key': `${name} of a test` } };
  const twice = await Promise.all([begin('steps', options), begin('steps', options)]);
  for (const { stream } of twice) {
    for await (const data of stream) say('event', { data });
    say('end', { same: String(twice[0].url) === String(twice[1].url) });
  }
}
done();
