import type { Home } from "@valetkey/client/Home"
import * as KeyFile from "@valetkey/keyring/KeyFile"
import { Effect, Redacted, type Scope } from "effect"
import { randomBytes, randomUUID } from "node:crypto"
import { existsSync, rmSync } from "node:fs"
import * as PrivateFiles from "./PrivateFiles.ts"
import type { Settings } from "./Settings.ts"

/**
 * Makes the directories of an installation, its id, and its key on the very first start; returns the id. An installation
 * that has data and no key does not get another one: it could not open what is there.
 */
export const prepare = (
  home: Home,
  settings: Pick<Settings, "instanceId" | "keys">
): Effect.Effect<string, PrivateFiles.PrivateFilesError> =>
  Effect.gen(function*() {
    yield* PrivateFiles.directory(home.data)
    yield* PrivateFiles.directory(home.config)
    yield* PrivateFiles.directory(home.run)
    if (!existsSync(home.database) && settings.keys === undefined) {
      // A key file that is refused shows in readiness and in every answer that needs it.
      yield* Effect.ignore(KeyFile.readOrCreate(home.keys))
    }
    if (settings.instanceId !== undefined) return settings.instanceId
    const found = yield* PrivateFiles.read(home.instance)
    if (found !== undefined && found !== "") return found
    const made = randomUUID()
    yield* PrivateFiles.write(home.instance, `${made}\n`)
    return made
  })

/** A token for the life of one process. */
export const newToken = (): Redacted.Redacted => Redacted.make(randomBytes(32).toString("base64url"))

/** Writes the token and the process id where the owner and its commands find them, until the scope closes. */
export const publish = (
  home: Home,
  token: Redacted.Redacted
): Effect.Effect<void, PrivateFiles.PrivateFilesError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.andThen(
      PrivateFiles.write(home.token, `${Redacted.value(token)}\n`),
      PrivateFiles.write(home.pid, `${process.pid}\n`)
    ),
    () =>
      Effect.sync(() => {
        rmSync(home.token, { force: true })
        rmSync(home.pid, { force: true })
      })
  )
