// Bundles the command: CommonJS files for the fast path, the commands, the server, and what the server calls out with.
import { build } from "esbuild"
import { mkdir, readFile } from "node:fs/promises"
import { createRequire, isBuiltin } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const here = dirname(fileURLToPath(import.meta.url))

/** Builds into `outdir`. */
export const bundle = async (outdir) => {
  await mkdir(outdir, { recursive: true })
  const { version } = JSON.parse(await readFile(join(here, "package.json"), "utf8"))
  await build({
    absWorkingDir: here,
    entryPoints: {
      valetkey: "src/main.ts",
      cli: "src/Cli.ts",
      serve: "src/Foreground.ts",
      undici: createRequire(join(here, "../../packages/egress/package.json")).resolve("undici")
    },
    outdir,
    outExtension: { ".js": ".cjs" },
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node22.19",
    minify: true,
    keepNames: false,
    legalComments: "none",
    // `require` is quicker than the loader of modules.
    supported: { "dynamic-import": false },
    logLevel: "warning",
    define: { VALETKEY_VERSION: JSON.stringify(version), "import.meta.url": "__filename" },
    plugins: [
      moduleByModule,
      segmentOnDemand,
      lazily({ "./Cli.ts": "./cli.cjs", "./Foreground.ts": "./serve.cjs", undici: "./undici.cjs" }),
      deferred(["ws", "(node:)?(child_process|dns/promises|https|querystring|readline|tls|zlib)"])
    ]
  })
}

/**
 * Namespaces of the barrel are kept whole by the bundler; imported one by one they lose what nobody uses. Modules of ours
 * and of Effect that are imported on demand become part of the start: the bundler would otherwise wrap everything that
 * they share with it, which is nearly all, in functions.
 */
const moduleByModule = {
  name: "module-by-module",
  setup: ({ onLoad }) => {
    onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      if (path.includes("node_modules")) return undefined
      const source = await readFile(path, "utf8")
      const joined = []
      const contents = source
        .replace(/^import \{([^}]*)\} from "effect"$/gm, (_, names) =>
          names.split(",").map((name) => name.trim()).filter((name) => name !== "" && !name.startsWith("type "))
            .map((name) => `import * as ${name} from "effect/${name}"`).join("; "))
        .replace(/\bimport\("((?!\.\/Cli\.ts|\.\/Foreground\.ts)\.\/[^"]+|effect\/[^"]+)"\)/g, (_, name) => {
          joined.push(`import * as joined${joined.length} from "${name}"`)
          return `Promise.resolve(joined${joined.length - 1})`
        })
      return { contents: [contents, ...joined].join("\n"), loader: "ts" }
    })
  }
}

/** The segmenter of the help text takes longer to make than the rest of the command line, and few commands print help. */
const segmentOnDemand = {
  name: "segment-on-demand",
  setup: ({ onLoad }) => {
    onLoad({ filter: /effect[/\\]dist[/\\]cli[/\\]CliOutput\.js$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8")
      const made = /const graphemeSegmenter = ([^;]*?new Intl\.Segmenter\([^)]*\));/
      if (!made.test(source)) throw new Error(`${path} makes its segmenter in another way; adapt the build`)
      const contents = source.replace(made, "let segmenter; const graphemeSegmenter = { segment: (text) => (segmenter ??= $1).segment(text) };")
      return { contents, loader: "js" }
    })
  }
}

/** What is imported on demand stays in a file of its own, which is not read before. */
const lazily = (files) => ({
  name: "lazily",
  setup: ({ onResolve }) => {
    onResolve({ filter: /./ }, ({ kind, path }) =>
      kind === "dynamic-import" && path in files ? { path: files[path], external: true } : undefined)
  }
})

/** What is imported at the start but used later, if at all: each export becomes a property that loads the module. */
const deferred = (names) => ({
  name: "deferred",
  setup: ({ onLoad, onResolve, resolve }) => {
    onResolve({ filter: new RegExp(`^(${names.join("|")})$`) }, ({ path, pluginData, resolveDir }) =>
      pluginData === "loading" ? undefined : { path, namespace: "deferred", pluginData: resolveDir })
    onLoad({ filter: /./, namespace: "deferred" }, ({ path, pluginData: resolveDir }) => {
      const exports = Object.keys(createRequire(join(resolveDir, "importer.js"))(path)).map((name) => JSON.stringify(name))
      const properties = exports.map((name) => `get ${name}() { return load()[${name}] }`)
      return {
        contents: `const load = () => require("loading:${path}"); module.exports = { ${properties.join(", ")} }`,
        resolveDir
      }
    })
    onResolve({ filter: /^loading:/ }, ({ path, resolveDir }) => {
      const name = path.slice("loading:".length)
      return isBuiltin(name)
        ? { path: name, external: true }
        : resolve(name, { kind: "require-call", resolveDir, pluginData: "loading" })
    })
  }
})

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle(join(here, "dist", "bundle"))
