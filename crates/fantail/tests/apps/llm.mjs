// As much of OpenAI's and Anthropic's API as their SDKs need to stream: `POST /v1/chat/completions`, `/v1/responses` and
// `/v1/messages` answer with the events of llm.json. The model of the request says how:
//
//   plain     all events at once
//   steps     each event after the first, and the end, waits for a step (`POST /step`: 204, or 409 if no stream waits);
//             events have ids here, as from then on some SDKs take every blank line for an event
//   endless   the first event and nothing after it; `gone` on stdout when the client has left
//   broken    the first event, then an error in the API's own shape
//   cut       the first event, then the connection is closed in the middle of the body
//   limited   429 with `Retry-After: 7`, and the API's own error
//
// Every request is told on stdout: `asked METHOD PATH MODEL`.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const said = JSON.parse(readFileSync(new URL('llm.json', import.meta.url), 'utf8'));

const apis = {
  '/v1/chat/completions': {
    events: said.chat.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`),
    last: 'data: [DONE]\n\n',
    broken: 'data: {"error":{"message":"overloaded","type":"server_error","code":null,"param":null}}\n\n',
    limited: { error: { message: 'too many requests', type: 'rate_limit_exceeded', code: null, param: null } },
  },
  '/v1/responses': {
    events: said.responses.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`),
    last: '',
    broken: 'event: error\ndata: {"type":"error","code":"server_error","message":"overloaded","param":null,"sequence_number":1}\n\n',
    limited: { error: { message: 'too many requests', type: 'rate_limit_exceeded', code: null, param: null } },
  },
  '/v1/messages': {
    events: said.messages.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`),
    last: '',
    broken: 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"overloaded"}}\n\n',
    limited: { type: 'error', error: { type: 'rate_limit_error', message: 'too many requests' } },
  },
};

const waiting = [];
const step = () => new Promise((go) => waiting.push(go));

async function answer(api, model, response) {
  if (model === 'limited') {
    response.writeHead(429, { 'Content-Type': 'application/json', 'Retry-After': '7' });
    response.end(JSON.stringify(api.limited));
    return;
  }
  response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8', 'X-Request-Id': 'request-1' });
  const events = model === 'steps' ? api.events.map((event, k) => `id: ${k}\n${event}`) : api.events;
  const [first, ...others] = events;
  response.write(first);
  switch (model) {
    case 'endless':
      response.on('close', () => console.log('gone'));
      return;
    case 'broken':
      response.end(api.broken);
      return;
    case 'cut':
      // What was written goes out first.
      response.write(others[0], () => response.destroy());
      return;
  }
  for (const event of others) {
    if (model === 'steps') await step();
    response.write(event);
  }
  if (model === 'steps') await step();
  response.end(api.last);
}

const server = createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (piece) => (body += piece));
  request.on('end', () => {
    if (request.url === '/step') {
      const go = waiting.shift();
      go?.();
      response.writeHead(go ? 204 : 409).end();
      return;
    }
    const api = request.method === 'POST' && apis[request.url];
    if (!api) {
      response.writeHead(404).end();
      return;
    }
    const { model } = JSON.parse(body);
    console.log(`asked ${request.method} ${request.url} ${model}`);
    answer(api, model, response);
  });
});

server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
