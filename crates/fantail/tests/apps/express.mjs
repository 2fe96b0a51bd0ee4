// An application of Express behind `compression`, with the defaults of both: it compresses event streams for whoever accepts
// that, and then keeps events back, as it never calls `res.flush`. README.md beside this file says what applications serve.

import compression from 'compression';
import express from 'express';

const text = (k) => `event ${k}: grüße 🦜`;
const sleep = (ms) => new Promise((awake) => setTimeout(awake, ms));

// Whoever waits for a `POST /step`.
const waiting = [];
const step = () => new Promise((go) => waiting.push(go));

const app = express();
app.use(compression());

function startStream(res) {
  res.set('Content-Type', 'text/event-stream');
  res.set('Access-Control-Allow-Origin', '*');
  res.flushHeaders();
}

const send = (res, k) => res.write(`id: ${k}\ndata: ${text(k)}\n\n`);

app.get('/events', async ({ query }, res) => {
  startStream(res);
  for (let k = 0; k < Number(query.n); k++) {
    if (k > 0) await sleep(Number(query.gap));
    send(res, k);
  }
  res.end();
});

app.get('/steps', async ({ query }, res) => {
  startStream(res);
  for (let k = 0; k < Number(query.n); k++) {
    await step();
    send(res, k);
  }
  await step();
  res.end();
});

app.post('/step', (_, res) => {
  const go = waiting.shift();
  go?.();
  res.sendStatus(go ? 204 : 409);
});

app.get('/forever', (_, res) => {
  startStream(res);
  send(res, 0);
  res.on('close', () => console.log('gone'));
});

app.get('/never', (_, res) => {
  console.log('asked');
  res.on('close', () => console.log('gone'));
});

app.post('/llm', express.json(), async ({ body }, res) => {
  startStream(res);
  for (const word of body.prompt.split(' ')) {
    await step();
    res.write(`data: ${JSON.stringify({ choices: [{ delta: { content: word } }] })}\n\n`);
  }
  res.end('data: [DONE]\n\n');
});

app.get('/page', (_, res) => {
  res.cookie('first', '1', { httpOnly: true });
  res.cookie('second', '2');
  res.json({ page: 'x'.repeat(1024) });
});

app.post('/echo', express.raw({ type: () => true, limit: '16mb' }), (req, res) => {
  res.set('Content-Type', req.get('Content-Type'));
  res.end(req.body);
});

app.get('/big', async (_, res) => {
  res.set('Content-Type', 'application/octet-stream');
  for (let block = 0; block < 64; block++) {
    let lines = '';
    for (let line = 0; line < 8192; line++) lines += `${block * 8192 + line}\n`.padStart(8, '0');
    if (!res.write(lines)) await new Promise((drained) => res.once('drain', drained));
  }
  res.end();
});

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
