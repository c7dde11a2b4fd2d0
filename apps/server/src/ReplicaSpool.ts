import type { Home } from "@valetkey/client/Home"
import type { Spool } from "@valetkey/domain/Spool"
import { StoreError } from "@valetkey/domain/StoreError"
import * as SqliteSpool from "@valetkey/store-sqlite/SqliteSpool"
import { Effect, Layer, Result } from "effect"
import { join } from "node:path"
import * as PrivateFiles from "./PrivateFiles.ts"

/** Replicas on one machine that have a spool each. */
const slots = 64

/**
 * Layer of a spool in a file that no other replica on this machine uses. Slots are tried in order, so that a replica
 * that starts after another died finds what the dead one left.
 */
export const layer = (home: Home): Layer.Layer<Spool, StoreError | PrivateFiles.PrivateFilesError> =>
  Layer.effectContext(Effect.gen(function*() {
    yield* PrivateFiles.directory(home.data)
    yield* PrivateFiles.directory(home.spool)
    for (let slot = 0; slot < slots; slot++) {
      const opened = yield* Effect.result(
        Layer.build(SqliteSpool.layer({ path: join(home.spool, `replica-${slot}.db`) }))
      )
      if (Result.isSuccess(opened)) return opened.success
      if (opened.failure.code !== "store_locked") return yield* opened.failure
    }
    return yield* new StoreError({ code: "store_locked", operation: "spool" })
  }))
