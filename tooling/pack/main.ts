// Builds, packs and installs every package as a consumer would: `node tooling/pack/main.ts`, with pnpm on the path.
import { spawnSync } from "node:child_process"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { publint } from "publint"
import { formatMessage } from "publint/utils"
import { problems } from "./Contents.ts"
import { type PublishedManifest, type Tarball, unpack } from "./Tarball.ts"

const root = join(import.meta.dirname, "../..")
const folder = mkdtempSync(join(tmpdir(), "valetkey-pack-"))
const modules = join(folder, "node_modules")
const started = performance.now()
let passed = 0
let failed = 0

const step = (name: string, found: ReadonlyArray<string>): void => {
  if (found.length === 0) passed++
  else failed++
  for (const problem of found) console.error(`${name}: ${problem}`)
}

const run = (command: string, ...args: ReadonlyArray<string>) =>
  spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: { ...process.env, PATH: `${join(root, "node_modules/.bin")}${delimiter}${process.env["PATH"]}` }
  })

interface Source {
  readonly directory: string
  readonly manifest: PublishedManifest & { readonly private?: boolean }
}

const sources: ReadonlyArray<Source> = ["packages", "apps"].flatMap((room) =>
  readdirSync(join(root, room)).map((name) => join(root, room, name))
    .filter((directory) => existsSync(join(directory, "package.json")))
    .map((directory) => ({
      directory,
      manifest: JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as Source["manifest"]
    }))
).filter(({ manifest }) => manifest.private !== true)

// The compiler leaves the outputs of deleted sources behind.
const removeStale = ({ directory }: Source): void => {
  const dist = join(directory, "dist")
  if (!existsSync(dist)) return
  for (const path of readdirSync(dist, { recursive: true, encoding: "utf8" })) {
    const source = /^(.*)\.(js|d\.ts)(\.map)?$/.exec(path)?.[1]
    if (source !== undefined && !existsSync(join(directory, "src", `${source}.ts`))) rmSync(join(dist, path))
  }
}

const linkDependencies = ({ directory, manifest }: Source): void => {
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) {
    if (sources.some((source) => source.manifest.name === name)) continue
    const link = join(modules, manifest.name, "node_modules", name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(realpathSync(join(directory, "node_modules", name)), link)
  }
}

const publicModules = ({ files, manifest }: Tarball): Array<string> =>
  [...files.keys()].flatMap((path) => {
    const name = /^dist\/(\w+)\.js$/.exec(path)?.[1]
    return name === undefined ? [] : [name === "index" ? manifest.name : `${manifest.name}/${name}`]
  })

// Suites need a running vitest, and an app's main starts it: those are installed and type-checked, not imported.
const isLibrary = ({ manifest }: Tarball): boolean =>
  manifest.exports?.["."] !== undefined && !manifest.name.endsWith("/testing")

const imports = (tarballs: ReadonlyArray<Tarball>): ReadonlyArray<string> => {
  const open = tarballs.filter(isLibrary).flatMap(publicModules)
  const closed = tarballs.filter(isLibrary).flatMap(({ files, manifest }) =>
    [...files.keys()].flatMap((path) => /^dist\/(internal\/\w+)\.js$/.exec(path)?.[1] ?? []).slice(0, 1)
      .map((name) => `${manifest.name}/${name}`)
  )
  writeFileSync(
    join(folder, "consumer.mjs"),
    `for (const name of ${
      JSON.stringify(open)
    }) await import(name).catch((error) => console.log(name + ": " + error.message))
for (const name of ${JSON.stringify(closed)}) {
  await import(name).then(() => console.log(name + " is private and opens"), (error) => {
    if (error.code !== "ERR_PACKAGE_PATH_NOT_EXPORTED") console.log(name + ": " + error.message)
  })
}
`
  )
  const result = run(process.execPath, join(folder, "consumer.mjs"))
  return [...result.stdout.split("\n").filter((text) => text !== ""), ...(result.status === 0 ? [] : [result.stderr])]
}

const types = (tarballs: ReadonlyArray<Tarball>): ReadonlyArray<string> => {
  const names = tarballs.filter(isLibrary).map(({ manifest }) => manifest.name)
  writeFileSync(
    join(folder, "consumer.ts"),
    names.map((name, index) => `import * as package${index} from "${name}"\n`).join("") +
      `export default [${names.map((_, index) => `package${index}`).join(", ")}]\n`
  )
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        module: "NodeNext",
        target: "ES2023",
        lib: ["ES2023", "DOM", "DOM.Iterable"],
        strict: true,
        exactOptionalPropertyTypes: true,
        noEmit: true,
        skipLibCheck: true,
        types: ["node"],
        typeRoots: [realpathSync(join(root, "node_modules/@types"))]
      },
      files: ["consumer.ts"]
    })
  )
  const result = run("tsc", "-p", folder)
  return result.status === 0 ? [] : [result.stdout]
}

try {
  sources.forEach(removeStale)
  const build = run("tsc", "-b", "tsconfig.packages.json")
  step("build", build.status === 0 ? [] : [build.stdout])
  const bundle = run("pnpm", "-r", "--filter=./apps/*", "run", "--if-present", "build")
  step("bundle", bundle.status === 0 ? [] : [bundle.stdout, bundle.stderr])
  const pack = run(
    "pnpm",
    "-r",
    ...sources.map(({ manifest }) => `--filter=${manifest.name}`),
    "pack",
    "--pack-destination",
    folder
  )
  step("pack", pack.status === 0 ? [] : [pack.error?.message ?? "", pack.stdout, pack.stderr])

  const tarballs: Array<Tarball> = []
  for (const source of sources) {
    const { name, version } = source.manifest
    const archive = join(folder, `${name.replace("@", "").replace("/", "-")}-${version}.tgz`)
    if (!existsSync(archive)) {
      step(name, ["was not packed"])
      continue
    }
    const tarball = unpack(archive, join(modules, name))
    tarballs.push(tarball)
    step(name, problems(tarball))
    const bytes = readFileSync(archive)
    const { messages } = await publint({
      level: "warning",
      pack: { tarball: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer }
    })
    step(`${name} (publint)`, messages.map((message) => formatMessage(message, tarball.manifest) ?? message.code))
    linkDependencies(source)
  }
  step("import", imports(tarballs))
  step("consumer types", types(tarballs))
} finally {
  rmSync(folder, { recursive: true, force: true })
}

console.log(`${sources.length} packages packed in ${((performance.now() - started) / 1000).toFixed(1)} s`)
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
