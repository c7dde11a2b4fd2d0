import { type ChildProcess, fork } from "node:child_process"

/** A program in a process of its own, and how it is spoken to. */
export interface Child {
  readonly process: ChildProcess
  /** Completes when it ends, however that happens. */
  readonly ended: Promise<number | NodeJS.Signals | null>
  /** The first message that has the member; fails when the process ends before. */
  message<A>(member: string): Promise<A>
  on(member: string, act: (value: never) => void): void
  /** What it wrote to stderr. */
  readonly complaint: () => string
  /** What it wrote to stdout. */
  readonly said: () => string
}

/** How much of what a process writes is kept. */
const kept = 20_000

/** Starts a module. It does not outlive this process: its channel breaks, or the signal handlers of the run end it. */
export const start = (module: URL, options: {
  readonly args?: ReadonlyArray<string>
  readonly env: NodeJS.ProcessEnv
  readonly preload?: URL
}): Child => {
  const child = fork(module, options.args ?? [], {
    env: options.env,
    execArgv: options.preload === undefined ? [] : ["--import", options.preload.href],
    stdio: ["ignore", "pipe", "pipe", "ipc"]
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
        on(member, resolve)
        void ended.then((how) => reject(new Error(`${module.pathname} ended with ${how}: ${outputs.stderr}`)))
      }),
    complaint: () => outputs.stderr,
    said: () => outputs.stdout
  }
}
