// An OpenID provider for the tests: `oidc-provider` from npm on a free port of the loopback address, whose clients get
// signed tokens with the claims that a test gives them.
//
//   node provider.mjs FOLDER    where FOLDER/node_modules has oidc-provider
//
// Prints its issuer. Beside the provider's own paths: PUT /test/clients/NAME sets a client's claims and algorithm (its
// secret is its name), POST /test/rotate replaces the keys, POST /test/away makes everything but this answer 503.

import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const library = `${process.argv[2]}/node_modules/oidc-provider/lib/index.js`;
const { default: Provider } = await import(pathToFileURL(library));

const AUDIENCE = 'grid';
const SCOPES = 'models:list models:use modules:use users:manage scaicore:view api_keys:manage';
const clients = new Map();
let generation = 0;
let away = false;
let answer;

function jwks() {
  const options = [['rsa', { modulusLength: 2048 }, 'RS256'], ['ec', { namedCurve: 'P-256' }, 'ES256']];
  const keys = options.map(([kind, shape, alg]) => ({
    ...generateKeyPairSync(kind, shape).privateKey.export({ format: 'jwk' }),
    kid: `${alg}-${generation}`, alg, use: 'sig',
  }));
  generation += 1;
  return { keys };
}

let keys;

function provide(issuer) {
  const provider = new Provider(issuer, {
    jwks: keys,
    clients: [...clients.keys()].map((name) => ({
      client_id: name, client_secret: name, grant_types: ['client_credentials'],
      redirect_uris: [], response_types: [], token_endpoint_auth_method: 'client_secret_post',
    })),
    scopes: ['openid', ...SCOPES.split(' ')],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'https://grid.example',
        getResourceServerInfo: (_, __, client) => ({
          scope: SCOPES, audience: clients.get(client.clientId).audience ?? AUDIENCE, accessTokenFormat: 'jwt',
          jwt: { sign: { alg: clients.get(client.clientId).alg ?? 'RS256' } },
        }),
      },
    },
    ttl: { ClientCredentials: (_, __, client) => clients.get(client.clientId).seconds ?? 600 },
    formats: {
      customizers: {
        jwt: (_, token, jwt) => { Object.assign(jwt.payload, clients.get(token.clientId).claims); },
      },
    },
  });
  provider.on('server_error', (_, error) => console.error(error));
  return provider.callback();
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString() || 'null');
}

const server = createServer(async (request, response) => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const control = request.url.match(/^\/test\/(clients\/(.+)|rotate|away|back)$/);
  if (!control) {
    if (away) return response.writeHead(503).end();
    return answer(request, response);
  }
  if (control[2]) clients.set(control[2], await body(request));
  if (control[1] === 'rotate') keys = jwks();
  if (control[1] === 'away') away = true;
  if (control[1] === 'back') away = false;
  answer = provide(issuer);
  return response.writeHead(204).end();
});

server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  keys = jwks();
  answer = provide(issuer);
  console.log(`issuer ${issuer}`);
});
