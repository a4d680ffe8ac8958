// What a program with MedplumClient does.
import { MedplumClient, OperationOutcomeError } from "@medplum/core";
import { digest, run } from "./program.mjs";

const open = (base) => {
  const { origin, pathname } = new URL(base);
  const client = new MedplumClient({ baseUrl: `${origin}/`, fhirUrlPath: pathname.slice(1) });
  return {
    create: ({ resource }) => client.createResource(resource),
    async create_once({ resource, criteria }) {
      const made = await client.createResourceIfNoneExist(resource, new URLSearchParams(criteria).toString());
      return { id: made.id }; // whether it is new, this client does not tell
    },
    picture: async ({ url }) => digest(Buffer.from(await (await client.download(url)).arrayBuffer())),
    read: ({ kind, id }) => client.readResource(kind, id),
    vread: ({ kind, id, version }) => client.readVersion(kind, id, version),
    async search({ kind, parameters }) {
      const ids = [];
      for await (const page of client.searchResourcePages(kind, new URLSearchParams(parameters))) {
        ids.push(...page.map((resource) => resource.id));
      }
      return ids;
    },
    transaction: async ({ bundle }) => (await client.executeBatch(bundle)).entry.map((each) => each.response),
    async change({ kind, id, elements }) {
      return client.updateResource({ ...(await client.readResource(kind, id)), ...elements });
    },
    metadata: async () => (await client.get(client.fhirUrl("metadata"))).rest[0].resource.map((each) => each.type),
  };
};

// the status stays inside the client; the OperationOutcome comes out of it
const refusal = (why) =>
  why instanceof OperationOutcomeError && { refused: null, why: JSON.stringify(why.outcome), says: why.message };

await run(open, refusal);
