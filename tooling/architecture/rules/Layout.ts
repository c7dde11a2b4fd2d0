import { basename, dirname, relative, sep } from "node:path"
import type { Rule } from "../Rule.ts"
import type { SourceModule } from "../SourceModule.ts"
import type { Package, Workspace } from "../Workspace.ts"

// The longest a source file may be.
const lineLimit = 500

// Schema tables and generated files that may be longer, each with its reason.
const longFiles: ReadonlyMap<string, string> = new Map()

/** `src` is flat: one public module per file, and one room for private code. */
export const sourceFolders: Rule = {
  name: "source-folders",
  sentence: "src has no folder but internal/",
  find: (workspace) =>
    sources(workspace).filter(({ from, module }) => {
      const folder = dirname(relative(`${from.directory}${sep}src`, module.file)).split(sep)[0]
      return folder !== "." && folder !== "internal"
    }).map(({ module }) => ({ where: module.path, message: "move it to src/ or src/internal/" }))
}

/** A module is named after the noun it holds. */
export const moduleNames: Rule = {
  name: "module-names",
  sentence: "no file is a drawer: utils, common, types, helpers",
  find: (workspace) =>
    workspace.packages.flatMap((from) => from.modules)
      .filter((module) =>
        /^(utils?|commons?|types?|helpers?|misc|shared)$/i.test(basename(module.path).replace(/\..*$/, ""))
      )
      .map((module) => ({ where: module.path, message: "name the file after the one thing it holds" }))
}

/** A file that does not fit in a reader's head is split. */
export const fileSize: Rule = {
  name: "file-size",
  sentence: `no source file is longer than ${lineLimit} lines`,
  find: (workspace) =>
    [...sources(workspace).map(({ module }) => module), ...workshop(workspace)]
      .filter((module) => module.lines > lineLimit && !longFiles.has(module.path))
      .map((module) => ({ where: module.path, message: `${module.lines} lines; split it by noun` }))
}

const sources = (workspace: Workspace): Array<{ readonly from: Package; readonly module: SourceModule }> =>
  workspace.packages.flatMap((from) =>
    from.modules.filter((module) => module.scope === "src").map((module) => ({ from, module }))
  )

const workshop = (workspace: Workspace): Array<SourceModule> =>
  workspace.packages.filter((candidate) => candidate.room === "workshop").flatMap((from) => from.modules)
