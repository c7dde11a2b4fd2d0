import setup, { variable } from "../../apps/cli/test/support/bundle.ts"

/** Vitest `globalSetup`: the suites run the command as it is published, built once for the run. */
export default async function once(): Promise<(() => void) | undefined> {
  return process.env[variable] === undefined ? setup() : undefined
}
