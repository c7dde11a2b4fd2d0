import { type ChildProcess, spawn } from "node:child_process"
import { readFileSync, rmSync } from "node:fs"
import { request } from "node:http"
import { setImmediate } from "node:timers/promises"

/** Runs a command to its end and gives the seconds it took; a command that fails is an error. */
export const seconds = async (
  command: ReadonlyArray<string>,
  env: NodeJS.ProcessEnv = process.env
): Promise<number> => {
  const started = performance.now()
  const child = spawn(command[0]!, command.slice(1), { env, stdio: "ignore" })
  const code = await new Promise<number | null>((resolve) => child.once("exit", resolve))
  if (code !== 0) throw new Error(`${command.slice(1).join(" ")} ended with ${code}`)
  return (performance.now() - started) / 1000
}

/** A server that was started and answers on its socket. */
export interface Running {
  readonly process: ChildProcess
  /** From the start of the process to the first answer, in seconds. */
  readonly readyAfter: number
  /** Resident memory after the first answer, in megabytes. */
  readonly residentMegabytes: number
  stop(): Promise<void>
}

/** Starts a server and asks until it answers. */
export const start = async (
  command: ReadonlyArray<string>,
  options: { readonly socket: string; readonly path: string; readonly env?: NodeJS.ProcessEnv }
): Promise<Running> => {
  // A floor that was ended by a signal leaves its socket behind.
  rmSync(options.socket, { force: true })
  const started = performance.now()
  const child = spawn(command[0]!, command.slice(1), { env: options.env ?? process.env, stdio: "ignore" })
  let exited = false
  const exit = new Promise<void>((resolve) => child.once("exit", () => (exited = true, resolve())))
  while (!(await answers(options.socket, options.path))) {
    if (exited) throw new Error(`${command.slice(1).join(" ")} ended before it answered`)
    if (performance.now() - started > 30_000) throw new Error(`${command.slice(1).join(" ")} does not answer`)
    await setImmediate()
  }
  return {
    process: child,
    readyAfter: (performance.now() - started) / 1000,
    residentMegabytes: Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]) / 1024,
    stop: async () => {
      child.kill("SIGTERM")
      await exit
    }
  }
}

const answers = (socketPath: string, path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const asked = request({ socketPath, path, agent: false }, (response) => {
      response.resume()
      response.once("end", () => resolve(response.statusCode === 200))
    })
    asked.once("error", () => resolve(false))
    asked.end()
  })
