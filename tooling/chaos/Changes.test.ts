import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Effect } from "effect"
import * as Changes from "./Changes.ts"
import type { Subject } from "./History.ts"

const subject: Subject = {
  id: 7,
  mode: "refuse",
  tenant: "acme",
  subject: "ada",
  server: "files",
  policy: "strict",
  lifetimeSeconds: 1
}

describe("changes", () => {
  it.live("tell the millisecond of a mark, as whoever sees its request does", () =>
    Effect.gen(function*() {
      const { url } = yield* EmbeddedPostgres.database
      yield* EmbeddedPostgres.statement(
        url,
        `CREATE TABLE chaos_marks (id bigserial, at float8, tenant text, subject text, server text, epoch text, generation int, client text);
         INSERT INTO chaos_marks (at, tenant, subject, server, epoch, generation, client)
         VALUES (1795300718092.024, 'acme', 'ada', 'files', 'first', 3, '127.0.0.12')`
      )
      const marks = yield* Effect.promise(() => Changes.marks(url, [subject]))
      assert.deepStrictEqual(marks, [
        { at: 1795300718092, connection: 7, epoch: "first", generation: 3, replica: 1 }
      ])
    }).pipe(Effect.scoped))
})
