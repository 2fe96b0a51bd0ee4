// The `openai` SDK: openai_sdk.mjs BASE MODEL…. Each model of apps/llm.mjs is asked for a chat completion and for a response.

import OpenAI from 'openai';
import { done, say } from './say.mjs';

const [base, ...models] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: 'of a test', maxRetries: 0 });

const apis = {
  chat: (model) => client.chat.completions.create({ model, messages: [{ role: 'user', content: 'hello' }], stream: true }),
  responses: (model) => client.responses.create({ model, input: 'hello', stream: true }),
};

for (const model of models) {
  for (const [name, ask] of Object.entries(apis)) {
    say('begin', { what: `${name} ${model}` });
    try {
      const stream = await ask(model);
      say('open');
      for await (const data of stream) {
        say('event', { data });
        if (model === 'endless') stream.controller.abort();
      }
      say('end');
    } catch (error) {
      say('error', { reason: String(error), status: error.status, retry_after: error.headers?.get('retry-after') });
    }
  }
}
done();
