// Bundles the command: one CommonJS file for the fast path, one for the commands, one for the server.
import { build } from "esbuild"
import { mkdir, readFile } from "node:fs/promises"
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
      serve: "../server/src/Serve.ts"
    },
    outdir,
    outExtension: { ".js": ".cjs" },
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node22.19",
    minifySyntax: true,
    minifyWhitespace: true,
    keepNames: false,
    legalComments: "none",
    // `require` is quicker than the loader of modules.
    supported: { "dynamic-import": false },
    logLevel: "warning",
    define: { VALETKEY_VERSION: JSON.stringify(version), "import.meta.url": "__filename" },
    plugins: [moduleByModule, segmentOnDemand, lazily({ "./Cli.ts": "./cli.cjs", "@valetkey/server/Serve": "./serve.cjs" })]
  })
}

/** Namespaces of the barrel are kept whole by the bundler; imported one by one they lose what nobody uses. */
const moduleByModule = {
  name: "module-by-module",
  setup: ({ onLoad }) => {
    onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      if (path.includes("node_modules")) return undefined
      const source = await readFile(path, "utf8")
      const contents = source.replace(/^import \{([^}]*)\} from "effect"$/gm, (_, names) =>
        names.split(",").map((name) => name.trim()).filter((name) => name !== "" && !name.startsWith("type "))
          .map((name) => `import * as ${name} from "effect/${name}"`).join("; "))
      return { contents, loader: "ts" }
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

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle(join(here, "dist", "bundle"))
