import { Effect } from "effect"
import { serve } from "./Serve.ts"

serve({ env: process.env }).pipe(
  Effect.catch((error) =>
    Effect.sync(() => {
      process.stderr.write(`${error.code}: ${error.message}\n`)
      process.exitCode = 1
    })
  ),
  // Timers and idle sockets of a drained server hold nothing that is worth waiting for.
  Effect.ensuring(Effect.sync(() => process.exit())),
  Effect.runFork
)
