// `ws`: ws.mjs URL WORD. Sends the word once it is open, and tells of each message, of pings and of the close.

import WebSocket from 'ws';
import { done, say } from './say.mjs';

const [url, word] = process.argv.slice(2);
const socket = new WebSocket(url);
socket.on('open', () => {
  say('open');
  if (word) socket.send(word);
});
socket.on('message', (data, binary) => say('event', { type: binary ? 'binary' : 'text', data: data.toString() }));
socket.once('ping', () => say('ping'));
socket.on('error', ({ message }) => say('error', { reason: message }));
socket.on('close', (code, reason) => {
  say('end', { code, reason: reason.toString() });
  done();
});
