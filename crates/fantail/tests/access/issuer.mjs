// Somebody who signs tokens and hands out the public keys, for tests/it/key_sets.rs. `node issuer.mjs [KEY CERTIFICATE]` serves
// HTTP, or HTTPS with these files, on a free port and says which.
//
//   GET  /jwks.json               the keys of now
//   GET  /token?alg=…&claims=…    a token with these claims (JSON), signed with the key of now
//   POST /rotate                  new keys, under new names
//   POST /break, POST /mend       from now on the keys are not handed out, or are again
//   GET  /asked                   how often they were asked for

import { constants, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';

const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 });
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
const point = { dsaEncoding: 'ieee-p1363' };
const KINDS = {
  RS256: [rsa, 'sha256', {}],
  RS384: [rsa, 'sha384', {}],
  RS512: [rsa, 'sha512', {}],
  PS256: [rsa, 'sha256', pss],
  PS384: [rsa, 'sha384', pss],
  PS512: [rsa, 'sha512', pss],
  ES256: [() => generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'sha256', point],
  ES384: [() => generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'sha384', point],
  EdDSA: [() => generateKeyPairSync('ed25519'), null, {}],
};

let round = 0;
let keys = {};
let broken = false;
let asked = 0;
const rotate = () => {
  round += 1;
  // One RSA key does for all RSA algorithms: making them is slow.
  const shared = rsa();
  keys = Object.fromEntries(
    Object.entries(KINDS).map(([alg, [make]]) => [alg, { kid: `${alg}-${round}`, ...(make === rsa ? shared : make()) }]),
  );
};
rotate();

const part = (value) => Buffer.from(value).toString('base64url');
const token = (alg, claims) => {
  const { kid, privateKey } = keys[alg];
  const [, digest, options] = KINDS[alg];
  const text = `${part(JSON.stringify({ alg, kid, typ: 'JWT' }))}.${part(claims)}`;
  return `${text}.${part(sign(digest, Buffer.from(text), { key: privateKey, ...options }))}`;
};

const answer = (request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const say = (text, status = 200) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(text);
  switch (url.pathname) {
    case '/jwks.json': {
      asked += 1;
      if (broken) return say('{}', 500);
      const set = Object.entries(keys).map(([alg, { kid, publicKey }]) => ({
        ...publicKey.export({ format: 'jwk' }),
        alg,
        kid,
        use: 'sig',
      }));
      return say(JSON.stringify({ keys: set }));
    }
    case '/token':
      return say(token(url.searchParams.get('alg'), url.searchParams.get('claims')));
    case '/rotate':
      rotate();
      return say('{}');
    case '/break':
    case '/mend':
      broken = url.pathname === '/break';
      return say('{}');
    case '/asked':
      return say(String(asked));
    default:
      return say('{}', 404);
  }
};

const [key, cert] = process.argv.slice(2).map((path) => readFileSync(path));
const server = key ? createSecureServer({ key, cert }, answer) : createServer(answer);
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
// Tests ask for tokens in clear in any case.
if (key) {
  const plain = createServer(answer);
  plain.listen(0, '127.0.0.1', () => console.log(`plain ${plain.address().port}`));
}
