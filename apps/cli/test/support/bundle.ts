import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { bundle } from "../../build.mjs"

/** Environment variable with the path of the bundled command under test. */
export const variable = "VALETKEY_TEST_COMMAND"

/** Builds what is published, so that the suites run that and not the sources. */
export default async function setup(): Promise<() => void> {
  const directory = mkdtempSync(join(tmpdir(), "valetkey-bundle-"))
  await bundle(directory)
  process.env[variable] = join(directory, "valetkey.cjs")
  return () => rmSync(directory, { recursive: true, force: true })
}
