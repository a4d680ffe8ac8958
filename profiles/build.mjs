// Compiles the guide offline: node build.mjs OUT. Makes FHIR's core package, runs SUSHI, gives the service its copy,
// derives the examples.
//
// How this works. SUSHI wants hl7.fhir.r4.core as a folder of JSON in $HOME/.fhir/packages and knows no other place;
// npm has the same package in XML. So it is converted once, into a home of its own under OUT.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const here = import.meta.dirname;
const out = path.resolve(process.argv[2]);
const home = path.join(out, 'home');
const packages = path.join(home, '.fhir', 'packages');
const STAND_INS = ['hl7.terminology.r4', 'hl7.fhir.uv.extensions.r4', 'hl7.fhir.uv.tools.r4'];

function write(folder, name, document) {
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, name), JSON.stringify(document, null, 1));
}

/** fhir-tool leaves Quantity.value a string. */
function numbered(part) {
  if (part && typeof part === 'object') {
    for (const [key, value] of Object.entries(part)) {
      if (/Quantity$/.test(key) && typeof value?.value === 'string') value.value = Number(value.value);
      numbered(value);
    }
  }
  return part;
}

function makeCore() {
  const source = path.join(here, 'node_modules', 'hl7.fhir.r4.core');
  const target = path.join(packages, 'hl7.fhir.r4.core#4.0.1', 'package');
  if (fs.existsSync(path.join(target, 'package.json'))) return;
  const { Fhir } = createRequire(import.meta.url)('fhir-tool');
  const converter = new Fhir();
  for (const name of fs.readdirSync(source).filter((each) => /^[A-Z]\w+-.*\.xml$/.test(each))) {
    const resource = numbered(converter.xmlToObj(fs.readFileSync(path.join(source, name), 'utf8')));
    write(target, `${resource.resourceType}-${resource.id}.json`, resource);
  }
  const stated = JSON.parse(fs.readFileSync(path.join(source, 'package.json'), 'utf8'));
  fs.writeFileSync(path.join(packages, 'packages.ini'), '[cache]\nversion = 3\n'); // HL7's validator asks for it
  write(target, 'package.json', { ...stated, name: 'hl7.fhir.r4.core' }); // last: its presence says "complete"
}

function makeStandIns() {
  for (const name of STAND_INS) {
    const about = { name, version: '0.0.0', fhirVersions: ['4.0.1'], description: 'empty stand-in' };
    write(path.join(packages, `${name}#0.0.0`, 'package'), 'package.json', about);
  }
}

function compile() {
  const sushi = path.join(here, 'node_modules', '.bin', 'sushi');
  const run = spawnSync(sushi, ['build', here, '-s', '-o', out], { env: { ...process.env, HOME: home }, encoding: 'utf8' });
  process.stdout.write(run.stdout + run.stderr);
  const [, errors, warnings] = run.stdout.match(/(\d+) Errors?\s+(\d+) Warnings?/) ?? [];
  if (run.status !== 0 || errors !== '0' || warnings !== '0') process.exit(1);
}

/** What the code emits for a story, as a transaction, in which references may be searches: the golden files are the one
 * source of examples. */
function makeExamples() {
  const golden = path.join(here, '..', 'tests', 'golden');
  for (const name of fs.readdirSync(golden).filter((each) => each.endsWith('.json'))) {
    const resources = JSON.parse(fs.readFileSync(path.join(golden, name), 'utf8'));
    const entry = resources.map((resource) => ({
      fullUrl: `https://fundus-relay.dev/fhir/${resource.resourceType}/${resource.id}`,
      resource,
      request: { method: 'PUT', url: `${resource.resourceType}/${resource.id}` },
    }));
    const id = path.basename(name, '.json');
    write(path.join(out, 'examples'), name, { resourceType: 'Bundle', id, type: 'transaction', entry });
  }
}

/** The service's own copy: it reads its codes from it, and serves it. */
function ship() {
  const source = path.join(out, 'fsh-generated', 'resources');
  const target = path.join(here, '..', 'service', 'fundus_relay', 'guide', 'compiled');
  for (const name of fs.readdirSync(target).filter((each) => each.endsWith('.json'))) fs.rmSync(path.join(target, name));
  for (const name of fs.readdirSync(source)) {
    const artefact = JSON.parse(fs.readFileSync(path.join(source, name), 'utf8'));
    fs.writeFileSync(path.join(target, name), `${JSON.stringify(artefact)}\n`);
  }
}

makeCore();
makeStandIns();
fs.rmSync(path.join(out, 'fsh-generated'), { recursive: true, force: true });
compile();
ship();
makeExamples();
