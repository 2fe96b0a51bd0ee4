// `eventsource`: eventsource.mjs URL. It would connect again after the end; the script leaves then.

import { EventSource } from 'eventsource';
import { done, say } from './say.mjs';

const source = new EventSource(process.argv[2]);
source.onopen = () => say('open');
source.onmessage = ({ type, data, lastEventId }) => say('event', { type, data, id: lastEventId });
source.onerror = ({ code, message }) => {
  const comesBack = source.readyState === EventSource.CONNECTING && code === undefined && message === undefined;
  if (comesBack) say('end');
  else say('error', { reason: message, status: code });
  source.close();
  done();
};
