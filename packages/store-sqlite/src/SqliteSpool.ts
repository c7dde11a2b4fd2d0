import type { Epoch, Generation } from "@valetkey/domain/Connection"
import { makeGrouping } from "@valetkey/domain/Grouping"
import { Spool, type SpoolEntry } from "@valetkey/domain/Spool"
import type { StoreError } from "@valetkey/domain/StoreError"
import { Deferred, Effect, Layer, Option } from "effect"
import {
  type CredentialColumns,
  credentialNames,
  credentialsOf,
  credentialValues,
  grantOf,
  type KeyColumns,
  keyOf,
  optionalSealedOf
} from "./internal/columns.ts"
import { valuesOf } from "./internal/connectionRows.ts"
import { spoolMigrations } from "./internal/migrations.ts"
import { type Database, openDatabase, type Session } from "./internal/openDatabase.ts"

/**
 * Layer of `Spool` in a file of its own, with the same lock and modes as the store's. An entry survives the machine too:
 * every append reaches the disk before it returns. What is written in one turn of the event loop reaches it together. A
 * removal waits for no disk: after a power cut an entry may be there again, and its result id says that it was stored.
 */
export const layer = (options: { readonly path: string }): Layer.Layer<Spool, StoreError> =>
  Layer.effect(
    Spool,
    Effect.gen(function*() {
      const database = yield* openDatabase(options.path, spoolMigrations)
      const group = (write: Database["write"]) =>
        makeGrouping<Write, void, StoreError>({
          lanes: 1,
          size: 256,
          run: (members) =>
            Effect.map(
              write("write", (session) => {
                for (const { input } of members) input(session)
              }),
              () => {
                for (const { done } of members) Deferred.doneUnsafe(done, Effect.void)
              }
            )
        })
      const write = yield* group(database.write)
      const writeLightly = yield* group(database.writeLightly)

      return Spool.of({
        append: (entry) => write((session) => append(session, entry)),
        remove: (id) => writeLightly((session) => void session.run("DELETE FROM spool WHERE id = ?", id)),
        find: (key, { epoch, redeemed }) =>
          database.read("find", (session) =>
            Option.map(
              Option.fromUndefinedOr(
                session.one<SpoolColumns>(
                  `SELECT * FROM spool WHERE tenant = ? AND subject = ? AND server = ? AND epoch = ? AND redeemed = ?
                   ORDER BY seq LIMIT 1`,
                  ...valuesOf(key),
                  epoch,
                  redeemed
                )
              ),
              entryOf
            )),
        list: database.read("list", (session) =>
          session.all<SpoolColumns>("SELECT * FROM spool ORDER BY seq").map(entryOf))
      })
    })
  )

type Write = (session: Session) => void

const append = (session: Session, entry: SpoolEntry): void =>
  void session.run(
    `INSERT OR REPLACE INTO spool (tenant, subject, server, id, epoch, redeemed, ${credentialNames},
       grant_json, client_secret)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ...valuesOf(entry.key),
    entry.id,
    entry.epoch,
    entry.redeemed,
    ...credentialValues(entry.credentials),
    entry.grant === undefined ? null : JSON.stringify(entry.grant),
    entry.clientSecret ?? null
  )

interface SpoolColumns extends KeyColumns, CredentialColumns {
  readonly id: string
  readonly epoch: Epoch
  readonly redeemed: Generation
  readonly grant_json: string | null
  readonly client_secret: Uint8Array | null
}

const entryOf = (row: SpoolColumns): SpoolEntry => ({
  id: row.id,
  key: keyOf(row),
  epoch: row.epoch,
  redeemed: row.redeemed,
  credentials: credentialsOf(row),
  grant: row.grant_json === null ? undefined : grantOf(row.grant_json),
  clientSecret: optionalSealedOf(row.client_secret)
})
