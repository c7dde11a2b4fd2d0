import { lstatSync, mkdirSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import { fast } from "./fast.ts"

// The one command that programs run many times a day answers before anything else is loaded.
fast(process.argv.slice(2)).then((done) => {
  if (done === undefined) return whole()
  // What is written needs nothing more: not even the end of the connection that it came by.
  if (done.written) process.exit(0)
})

const whole = async (): Promise<void> => {
  if (isTooOld(process.versions.node)) {
    console.error(`valetkey: Node.js ${oldest.join(".")} or newer is needed; this is ${process.versions.node}`)
    process.exitCode = 1
    return
  }
  // Worth its own time for a large file alone.
  await keepCompiled()
  const [command, flag, ...more] = process.argv.slice(2)
  if (command === "serve" && (flag === undefined || flag === "--json") && more.length === 0) {
    const { main } = await import("./Foreground.ts")
    return main(flag !== undefined)
  }
  const { main } = await import("./Cli.ts")
  main()
}

/** Keeps compiled code where only this user can put some: the place that Node.js would choose is open to everybody. */
const keepCompiled = async (): Promise<void> => {
  const { enableCompileCache } = await import("node:module")
  const base = process.env["XDG_CACHE_HOME"]
  try {
    const directory = join(base?.startsWith("/") === true ? base : join(homedir(), ".cache"), "valetkey")
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const { mode, uid } = lstatSync(directory)
    // What others can write would run as this user.
    const isOurs = process.getuid === undefined || uid === process.getuid() && (mode & 0o022) === 0
    if (isOurs) enableCompileCache?.(directory)
  } catch {
    // A user without a home compiles anew each time.
  }
}

/** The first release whose SQLite needs no flag. */
const oldest = [22, 19] as const

const isTooOld = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major < oldest[0] || major === oldest[0] && minor < oldest[1]
}
