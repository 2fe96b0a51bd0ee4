// The `@anthropic-ai/sdk`: anthropic_sdk.mjs BASE MODEL…. Each model of apps/llm.mjs is asked for a message.

import Anthropic from '@anthropic-ai/sdk';
import { done, say } from './say.mjs';

const [base, ...models] = process.argv.slice(2);
const client = new Anthropic({ baseURL: base, apiKey: 'of a test', maxRetries: 0 });

for (const model of models) {
  say('begin', { what: `messages ${model}` });
  try {
    const messages = [{ role: 'user', content: 'hello' }];
    const stream = await client.messages.create({ model, max_tokens: 16, messages, stream: true });
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
done();
