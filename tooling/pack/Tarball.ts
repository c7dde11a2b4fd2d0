import { spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync } from "node:fs"
import { join, relative, sep } from "node:path"

/** The fields of a published package.json that are judged. */
export interface PublishedManifest {
  readonly name: string
  readonly version: string
  readonly license?: string
  readonly exports?: Readonly<Record<string, string | null>>
  readonly bin?: Readonly<Record<string, string>>
  readonly scripts?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

/** What a registry would serve: a manifest and files by path. */
export interface Tarball {
  readonly manifest: PublishedManifest
  readonly files: ReadonlyMap<string, string>
}

/** Unpacks a `.tgz` into a folder, which then is the installed package. */
export const unpack = (archive: string, folder: string): Tarball => {
  mkdirSync(folder, { recursive: true })
  const result = spawnSync("tar", ["-xzf", archive, "-C", folder, "--strip-components=1"], { encoding: "utf8" })
  if (result.status !== 0) throw new Error(`tar: ${result.stderr}`)
  const files = new Map(
    readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => {
      const path = join(entry.parentPath, entry.name)
      return [relative(folder, path).split(sep).join("/"), readFileSync(path, "utf8")]
    })
  )
  return { manifest: JSON.parse(files.get("package.json") ?? "{}") as PublishedManifest, files }
}
