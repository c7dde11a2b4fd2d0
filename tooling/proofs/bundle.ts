import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

/** Environment variable with the path of the command under test. */
const variable = "VALETKEY_TEST_COMMAND"

/** Vitest `globalSetup`: the suites run the command as it is published, built once for the run. */
export default async function setup(): Promise<(() => void) | undefined> {
  if (process.env[variable] !== undefined) return undefined
  const build = pathToFileURL(join(import.meta.dirname, "../../apps/cli/build.mjs")).href
  const { bundle } = await import(build) as { readonly bundle: (directory: string) => Promise<void> }
  const directory = mkdtempSync(join(tmpdir(), "valetkey-bundle-"))
  // Without a command the proofs fail; the other suites here need none.
  await bundle(directory).catch((cause: unknown) => console.error("The command was not built", cause))
  process.env[variable] = join(directory, "valetkey.cjs")
  return () => rmSync(directory, { recursive: true, force: true })
}
