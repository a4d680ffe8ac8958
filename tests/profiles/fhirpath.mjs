// Asks Medplum's FHIRPath: [{expression, resource}, ...] on standard input, [true, false, ...] on standard output.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const router = path.join(import.meta.dirname, '..', 'peers', 'router', 'server.mjs');
const { evalFhirPath } = createRequire(router)('@medplum/core');
const asked = JSON.parse(fs.readFileSync(0, 'utf8'));
console.log(JSON.stringify(asked.map(({ expression, resource }) => evalFhirPath(expression, resource)[0] === true)));
