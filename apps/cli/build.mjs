// Bundles the command: CommonJS files that share what they have in common. What is imported on demand is read on demand.
import { mkdir, readFile, rm } from "node:fs/promises"
import { createRequire, isBuiltin } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { rolldown } from "rolldown"

const here = dirname(fileURLToPath(import.meta.url))

/** Builds into `outdir`, which holds nothing else afterwards. */
export const bundle = async (outdir) => {
  const { version } = JSON.parse(await readFile(join(here, "package.json"), "utf8"))
  const build = await rolldown({
    cwd: here,
    input: { valetkey: "src/main.ts" },
    platform: "node",
    transform: {
      target: "node22.19",
      define: { VALETKEY_VERSION: JSON.stringify(version), "import.meta.url": "__filename", "import.meta.env": "undefined" }
    },
    plugins: [
      moduleByModule,
      segmentOnDemand,
      deferred(["ws", "(node:)?(child_process|dns/promises|https|querystring|readline|tls|zlib)"])
    ],
    logLevel: "warn"
  })
  await rm(outdir, { recursive: true, force: true })
  await mkdir(outdir, { recursive: true })
  // `require` is quicker than the loader of modules.
  await build.write({
    dir: outdir,
    format: "cjs",
    minify: true,
    comments: false,
    banner: ({ isEntry }) => isEntry ? "#!/usr/bin/env node" : "",
    entryFileNames: "[name].cjs",
    chunkFileNames: "[name]-[hash].cjs"
  })
  await build.close()
}

/** Namespaces of the barrel are kept whole by the bundler; imported one by one they lose what nobody uses. */
const moduleByModule = {
  name: "module-by-module",
  transform: {
    filter: { id: { include: /\.ts$/, exclude: /node_modules/ } },
    handler: (source) =>
      source.replace(/^import \{([^}]*)\} from "effect"$/gm, (_, names) =>
        names.split(",").map((name) => name.trim()).filter((name) => name !== "" && !name.startsWith("type "))
          .map((name) => `import * as ${name} from "effect/${name}"`).join("; "))
  }
}

/** The segmenter of the help text takes longer to make than the rest of the command line, and few commands print help. */
const segmentOnDemand = {
  name: "segment-on-demand",
  transform: {
    filter: { id: /effect[/\\]dist[/\\]cli[/\\]CliOutput\.js$/ },
    handler: (source, path) => {
      const made = /const graphemeSegmenter = ([^;]*?new Intl\.Segmenter\([^)]*\));/
      if (!made.test(source)) throw new Error(`${path} makes its segmenter in another way; adapt the build`)
      return source.replace(
        made,
        "let segmenter; const graphemeSegmenter = { segment: (text) => (segmenter ??= $1).segment(text) };"
      )
    }
  }
}

/** What is imported at the start but used later, if at all: each export becomes a property that loads the module. */
const deferred = (names) => {
  const prefix = "\0deferred:"
  return {
    name: "deferred",
    resolveId: {
      filter: { id: new RegExp(`^(${names.join("|")})$`) },
      handler: (name, importer) => {
        if (importer === undefined || importer.startsWith(prefix)) return undefined
        return `${prefix}${isBuiltin(name) ? name : createRequire(importer).resolve(name)}`
      }
    },
    load: {
      filter: { id: /^\0deferred:/ },
      handler: (id) => {
        const name = id.slice(prefix.length)
        const properties = Object.keys(createRequire(import.meta.url)(name))
          .map((key) => `get ${JSON.stringify(key)}() { return load()[${JSON.stringify(key)}] }`)
        const code = `const load = () => require(${JSON.stringify(name)}); module.exports = { ${properties.join(", ")} }`
        return { code, moduleType: "js" }
      }
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle(join(here, "dist", "bundle"))
