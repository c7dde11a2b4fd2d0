// Vitest `setupFiles`: hands what the suites print to the canary scan as well.
import { formatWithOptions } from "node:util"
import * as Emitted from "./Emitted.ts"

const installed = Symbol.for("@valetkey/testing/OutputSetup")
const marks = globalThis as { [key: symbol]: boolean | undefined }

if (Emitted.active() && marks[installed] !== true) {
  marks[installed] = true
  for (const method of ["debug", "error", "info", "log", "trace", "warn"] as const) {
    const print = console[method].bind(console)
    console[method] = (...args: Array<unknown>) => {
      Emitted.record("console", formatWithOptions({ depth: 8 }, ...args))
      print(...args)
    }
  }
  for (const stream of [process.stdout, process.stderr]) {
    const write = stream.write.bind(stream) as (...args: Array<unknown>) => boolean
    stream.write = (...args: Array<unknown>) => {
      const [chunk] = args
      if (typeof chunk === "string" || chunk instanceof Uint8Array) Emitted.record("output", chunk)
      return write(...args)
    }
  }
}
