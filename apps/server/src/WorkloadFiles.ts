import { WorkloadTokenMissing, WorkloadTokens } from "@valetkey/domain/WorkloadTokens"
import { Effect, Layer, Redacted } from "effect"
import { readFile } from "node:fs/promises"

/** A token of the platform, and the tenant that it is lent to. */
export interface WorkloadFile {
  readonly tenant: string
  readonly name: string
  readonly path: string
}

/** Layer that reads the tokens of the platform from files, anew each time: platforms replace them all the time. */
export const layer = (files: ReadonlyArray<WorkloadFile>): Layer.Layer<WorkloadTokens> =>
  Layer.succeed(WorkloadTokens)({
    read: Effect.fnUntraced(function*(tenant, name) {
      const file = files.find((one) => one.tenant === tenant && one.name === name)
      if (file === undefined) return yield* new WorkloadTokenMissing({})
      const text = yield* Effect.tryPromise({
        try: () => readFile(file.path, "utf8"),
        catch: (cause) => new WorkloadTokenMissing({ cause })
      })
      const token = text.trim()
      return token === "" ? yield* new WorkloadTokenMissing({}) : Redacted.make(token)
    })
  })
