// fhir-kit-client, unmodified: node kit.mjs BASE PICTURE → one JSON line.
import { readFileSync } from "node:fs";
import * as kit from "fhir-kit-client";

const [base, picture] = process.argv.slice(2);
const Client = kit.Client ?? kit.default?.default ?? kit.default;
const client = new Client({ baseUrl: base });
const media = {
  resourceType: "Media",
  status: "completed",
  identifier: [{ system: "urn:test", value: "kit-1" }],
  subject: { reference: "Patient/demo-patient" },
  content: { contentType: "image/jpeg", data: readFileSync(picture).toString("base64") },
};
const condition = { headers: { "If-None-Exist": "identifier=urn:test|kit-1" } };
const created = await client.create({ resourceType: "Media", body: media, options: condition });
const again = await client.create({ resourceType: "Media", body: media, options: condition });
const read = await client.read({ resourceType: "Media", id: created.id });
const vread = await client.vread({ resourceType: "Media", id: created.id, version: "1" });
const found = await client.search({ resourceType: "Media", searchParams: { identifier: "urn:test|kit-1" } });
const paged = await client.search({ resourceType: "Patient", searchParams: { _count: 10 } });
const next = await client.nextPage({ bundle: paged });
const transaction = await client.transaction({
  body: {
    resourceType: "Bundle",
    type: "transaction",
    entry: [
      {
        fullUrl: "urn:uuid:00000000-0000-4000-8000-000000000001",
        resource: { resourceType: "Patient", identifier: [{ system: "urn:test", value: "kit-patient" }] },
        request: { method: "POST", url: "Patient", ifNoneExist: "identifier=urn:test|kit-patient" },
      },
      {
        fullUrl: "urn:uuid:00000000-0000-4000-8000-000000000002",
        resource: {
          ...media,
          identifier: [{ system: "urn:test", value: "kit-2" }],
          subject: { reference: "urn:uuid:00000000-0000-4000-8000-000000000001" },
        },
        request: { method: "POST", url: "Media" },
      },
    ],
  },
});
const capabilities = await client.capabilityStatement();
let refused = null;
try {
  await client.create({ resourceType: "Media", body: { ...media, status: "bogus" } });
} catch (error) {
  refused = { status: error.response.status, code: error.response.data.issue[0].code };
}
console.log(
  JSON.stringify({
    created,
    again: again.id,
    read: read.id,
    vread: vread.meta.versionId,
    found: found.total,
    pages: [paged.entry.length, next.entry.length],
    transaction: transaction.entry.map((entry) => entry.response.status),
    fhirVersion: capabilities.fhirVersion,
    refused,
  }),
);
