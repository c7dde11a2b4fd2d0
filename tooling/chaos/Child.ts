import { type ChildProcess, spawn } from "node:child_process"
import { openSync } from "node:fs"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

/** A program in a process of its own, and how it is spoken to. */
export interface Child {
  readonly process: ChildProcess
  /** Completes when it ends, however that happens. */
  readonly ended: Promise<number | NodeJS.Signals | null>
  /** The next message that has the member; fails when the process ends before. */
  message<A>(member: string): Promise<A>
  on(member: string, act: (value: never) => void): void
  /** Has every whole line that it writes to stderr heard. */
  onComplaint(act: (line: string) => void): void
  /** What it wrote to stderr. */
  readonly complaint: () => string
  /** What it wrote to stdout. */
  readonly said: () => string
}

/** How a program is started. */
export interface StartOptions {
  readonly args?: ReadonlyArray<string>
  readonly env: NodeJS.ProcessEnv
  readonly preload?: URL
  /** Has every write fail that a full disk would refuse: logs at once, files beyond so many kibibytes. */
  readonly full?: { readonly fileKibibytes: number } | undefined
}

/** How much of what a process writes is kept. */
const kept = 20_000

/** Starts a module. It does not outlive this process: its channel breaks, or the signal handlers of the run end it. */
export const start = (module: URL, options: StartOptions): Child => {
  const argv = [
    ...(options.preload === undefined ? [] : ["--import", options.preload.href]),
    fileURLToPath(module),
    ...(options.args ?? [])
  ]
  const { full } = options
  const child = full === undefined
    ? spawn(process.execPath, argv, { env: options.env, stdio: ["ignore", "pipe", "pipe", "ipc"] })
    // Without the signal that comes along, a write beyond the limit fails as one on a full disk does.
    : spawn("bash", [
      "-c",
      `trap '' XFSZ; ulimit -f ${full.fileKibibytes}; exec "$@"`,
      "bash",
      process.execPath,
      ...argv
    ], {
      env: options.env,
      stdio: ["ignore", "pipe", openSync("/dev/full", "w"), "ipc"]
    })
  const outputs = { stdout: "", stderr: "" }
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.setEncoding("utf8").on("data", (text: string) => {
      outputs[name] = (outputs[name] + text).slice(-kept)
    })
  }
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.once("exit", (code, signal) => resolve(code ?? signal))
  )
  // A message to a process that has just been killed is lost, which is no error here.
  child.on("error", () => undefined)
  const on: Child["on"] = (member, act) => {
    child.on("message", (message) => {
      if (typeof message === "object" && message !== null && member in message) {
        act(Reflect.get(message, member) as never)
      }
    })
  }
  return {
    process: child,
    ended,
    on,
    message: (member) =>
      new Promise((resolve, reject) => {
        const listener = (message: unknown): void => {
          if (typeof message !== "object" || message === null || !(member in message)) return
          child.off("message", listener)
          resolve(Reflect.get(message, member))
        }
        child.on("message", listener)
        void ended.then((how) => reject(new Error(`${module.pathname} ended with ${how}: ${outputs.stderr}`)))
      }),
    onComplaint: (act) => {
      if (child.stderr !== null) createInterface({ input: child.stderr }).on("line", act)
    },
    complaint: () => outputs.stderr,
    said: () => outputs.stdout
  }
}
