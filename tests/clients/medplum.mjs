// @medplum/core's MedplumClient, unmodified: node medplum.mjs BASE PICTURE → one JSON line.
import { readFileSync } from "node:fs";
import { MedplumClient } from "@medplum/core";

const [base, picture] = process.argv.slice(2);
const url = new URL(base);
const client = new MedplumClient({ baseUrl: `${url.origin}/`, fhirUrlPath: url.pathname.slice(1), fetch });
const media = {
  resourceType: "Media",
  status: "completed",
  identifier: [{ system: "urn:test", value: "medplum-1" }],
  subject: { reference: "Patient/demo-patient" },
  content: { contentType: "image/jpeg", data: readFileSync(picture).toString("base64") },
};
const created = await client.createResourceIfNoneExist(media, "identifier=urn:test|medplum-1");
const again = await client.createResourceIfNoneExist(media, "identifier=urn:test|medplum-1");
const read = await client.readResource("Media", created.id, { cache: "reload" });
const vread = await client.readVersion("Media", created.id, "1");
const found = await client.searchResources("Media", { identifier: "urn:test|medplum-1" });
const pages = [];
for await (const page of client.searchResourcePages("Patient", { _count: "10" })) {
  pages.push(page.length);
}
const transaction = await client.executeBatch({
  resourceType: "Bundle",
  type: "transaction",
  entry: [
    {
      fullUrl: "urn:uuid:00000000-0000-4000-8000-000000000001",
      resource: { resourceType: "Patient", identifier: [{ system: "urn:test", value: "medplum-patient" }] },
      request: { method: "POST", url: "Patient" },
    },
    {
      fullUrl: "urn:uuid:00000000-0000-4000-8000-000000000002",
      resource: {
        ...media,
        identifier: [{ system: "urn:test", value: "medplum-2" }],
        subject: { reference: "urn:uuid:00000000-0000-4000-8000-000000000001" },
      },
      request: { method: "POST", url: "Media" },
    },
  ],
});
let refused = null;
try {
  await client.createResource({ ...media, status: "bogus" });
} catch (error) {
  refused = { code: error.outcome?.issue?.[0]?.code, text: String(error.message) };
}
console.log(
  JSON.stringify({
    created,
    again: again.id,
    read: read.id,
    vread: vread.meta.versionId,
    found: found.length,
    pages,
    transaction: transaction.entry.map((entry) => entry.response.status),
    refused,
  }),
);
