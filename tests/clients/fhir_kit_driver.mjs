// What a program with fhir-kit-client does.
import { Client } from "fhir-kit-client";
import { digest, run } from "./program.mjs";

const open = (baseUrl) => {
  const client = new Client({ baseUrl });
  return {
    create: ({ resource }) => client.create({ resourceType: resource.resourceType, body: resource }),
    async create_once({ resource, criteria }) {
      const headers = { "If-None-Exist": new URLSearchParams(criteria).toString() };
      const made = await client.create({ resourceType: resource.resourceType, body: resource, options: { headers } });
      return { id: made.id, is_new: Client.httpFor(made).response.status === 201 };
    },
    picture: async ({ url }) => digest(Buffer.from((await client.request(url)).data, "base64")),
    read: ({ kind, id }) => client.read({ resourceType: kind, id }),
    vread: ({ kind, id, version }) => client.vread({ resourceType: kind, id, version }),
    async search({ kind, parameters }) {
      const ids = [];
      let bundle = await client.search({ resourceType: kind, searchParams: parameters });
      for (; bundle; bundle = await client.nextPage({ bundle })) {
        ids.push(...(bundle.entry ?? []).map((entry) => entry.resource.id));
      }
      return ids;
    },
    async search_by_form({ kind, parameters }) {
      const options = { postSearch: true };
      const bundle = await client.search({ resourceType: kind, searchParams: parameters, options });
      return (bundle.entry ?? []).map((entry) => entry.resource.id);
    },
    transaction: async ({ bundle }) => (await client.transaction({ body: bundle })).entry.map((each) => each.response),
    async change({ kind, id, elements }) {
      const resource = await client.read({ resourceType: kind, id });
      return client.update({ resourceType: kind, id, body: { ...resource, ...elements } });
    },
    metadata: async () => (await client.capabilityStatement()).rest[0].resource.map((each) => each.type),
  };
};

const refusal = (why) =>
  why.response && { refused: why.response.status, why: JSON.stringify(why.response.data), says: why.message };

await run(open, refusal);
