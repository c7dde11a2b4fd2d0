import { Effect, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** A directory of mode 0700 that goes with the scope. */
export const make: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  // A socket below it must not be longer than the platform allows.
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vk-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)
