// Drives Chromium for the integration tests (tests/it/browser.rs). Commands come on stdin and reports leave on stdout,
// one JSON object a line. Commands are carried out in order and each is answered by exactly one of the reports marked
// "answer"; the others come whenever the browser has something to say.
//
//   {"do":"open","url":…}                     → {"report":"opened"}            answer; without a url: the driver's own page
//   {"do":"subscribe","url":…,"events":[…]}   → {"report":"subscribed","source":n}   answer
//        then, for that source:                 {"report":"open","source":n}
//                                               {"report":"event","source":n,"type":…,"data":…,"id":…}
//                                               {"report":"error","source":n,"state":0|2}   0 comes back, 2 has given up
//   {"do":"evaluate","script":…}              → {"report":"value","value":…}   answer; a script's promise is awaited
//   {"do":"close","source":n}                 → {"report":"closed","source":n} answer
//   {"do":"quit"}                             → the process ends
//   whatever fails                            → {"report":"failed","reason":…} answer
//
// At most six sources to one origin are connected at a time: that is Chromium's own limit for HTTP/1.1.

import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const executablePath = process.env.FANTAIL_TEST_CHROMIUM || '/usr/bin/chromium';

const say = (report) => process.stdout.write(JSON.stringify(report) + '\n');

// The page comes from an origin of its own, so that subscribing crosses origins as it does in most deployments.
const server = createServer((_, response) => {
  response.setHeader('Content-Type', 'text/html; charset=utf-8');
  response.end('<!doctype html><title>Fantail browser tests</title>');
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const ownPage = `http://127.0.0.1:${server.address().port}/`;

// playwright gives every launch a fresh profile in a temporary folder and removes it at the end.
const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-dev-shm-usage',
  ],
});
const page = await browser.newPage();

// A raw binding keeps reports in the order in which the page made them.
const devtools = await page.context().newCDPSession(page);
await devtools.send('Runtime.enable');
await devtools.send('Runtime.addBinding', { name: 'fantailReport' });
devtools.on('Runtime.bindingCalled', ({ name, payload }) => {
  if (name === 'fantailReport') process.stdout.write(payload + '\n');
});

let sources = 0;

const commands = {
  async open({ url }) {
    await page.goto(url || ownPage, { waitUntil: 'load' });
    return { report: 'opened' };
  },

  async subscribe({ url, events = [] }) {
    const source = sources++;
    await page.evaluate(
      ([url, events, source]) => {
        const report = (what) => window.fantailReport(JSON.stringify({ source, ...what }));
        const stream = new EventSource(url);
        // Said here and not by the driver, so that it stands before the first thing that the stream has to say.
        report({ report: 'subscribed' });
        (window.fantailSources ??= {})[source] = stream;
        stream.onopen = () => report({ report: 'open' });
        stream.onerror = () => report({ report: 'error', state: stream.readyState });
        for (const name of new Set(['message', ...events])) {
          stream.addEventListener(name, (e) => {
            report({ report: 'event', type: e.type, data: e.data, id: e.lastEventId });
          });
        }
      },
      [url, events, source],
    );
  },

  async evaluate({ script }) {
    return { report: 'value', value: (await page.evaluate(script)) ?? null };
  },

  async close({ source }) {
    await page.evaluate((source) => window.fantailSources?.[source]?.close(), source);
    return { report: 'closed', source };
  },
};

await commands.open({});
say({ report: 'ready', page: ownPage });

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const command = JSON.parse(line);
    if (command.do === 'quit') break;
    const answer = await commands[command.do](command);
    if (answer) say(answer);
  } catch (error) {
    say({ report: 'failed', reason: String(error?.message ?? error) });
  }
}

await browser.close();
process.exit(0);
