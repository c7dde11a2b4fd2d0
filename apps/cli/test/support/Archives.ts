import * as Canary from "@valetkey/testing/Canary"
import { generateIdentity, identityToRecipient } from "age-encryption"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import type * as Valetkey from "./Valetkey.ts"

/** A file of mode 0600 beside the installation's home. */
export const secretFile = (valetkey: Valetkey.Installation, name: string, content: string): string => {
  const path = join(dirname(valetkey.home.data), name)
  writeFileSync(path, content, { mode: 0o600 })
  return path
}

/** An age identity in a file, and its recipient. */
export const holder = (valetkey: Valetkey.Installation) =>
  Effect.promise(async () => {
    const identity = await generateIdentity()
    // What every identity begins with stands in messages too.
    Canary.register("age_identity", identity.slice(-40))
    const file = secretFile(valetkey, "key.txt", `# created by a test\n${identity}\n`)
    return { file, recipient: await identityToRecipient(identity) }
  })

/** Where an installation puts its archive. */
export const archiveIn = (valetkey: Valetkey.Installation): string => join(dirname(valetkey.home.data), "backup.age")

/** The names of all connections. */
export const namesOf = (valetkey: Valetkey.Installation) =>
  Effect.map(
    valetkey.json(["list"]),
    ({ document }) =>
      (document["connections"] as ReadonlyArray<{ readonly server: string }>).map(({ server }) => server)
  )

/** What an import says of one connection. */
export interface Reported {
  readonly server: string
  readonly imported: boolean
  readonly code?: string
  readonly uncertain?: boolean
}

/** What an import said of each connection, also when it failed. */
export const reportsOf = (
  { document, error }: { readonly document: Valetkey.Document; readonly error: Valetkey.Failure }
) =>
  ((document["connections"] ?? (error as unknown as Valetkey.Document)["connections"]) as ReadonlyArray<Reported>)
    .map(({ code, imported, server }) => [server, imported, code])
