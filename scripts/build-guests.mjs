// Builds the fixture guests into dist/guests. An image is built again only when something that it is made
// from changed; then one line is printed for it. The toolchain is bundled for that, as it is for `ferry guest build`.
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const fixtures = join(root, 'guest-fixtures');
/** Its modules, as bundles of this run. */
const toolchain = join(root, `dist/toolchain.${process.pid}`);
const TOOLCHAIN = ['build', 'assemblyscript', 'abi-constants', 'finish-worker'];
const output = join(root, 'dist/guests');

/** All files below `folder` with one of these extensions, sorted. */
function filesBelow(folder, ...extensions) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .map((file) => join(folder, file))
    .filter((file) => extensions.some((extension) => file.endsWith(extension)))
    .sort();
}

function hashOf(files) {
  const hash = createHash('sha256');
  for (const file of files) {
    const content = readFileSync(file);
    hash.update(`${relative(root, file)}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

/** Whoever reads `file` meanwhile sees the old content or the new, never half of it. */
function replaceFile(file, content) {
  const fresh = `${file}.${process.pid}`;
  writeFileSync(fresh, content);
  renameSync(fresh, file);
}

const tools = [
  ...filesBelow(join(fixtures, 'toolchain'), '.ts'),
  ...filesBelow(join(root, 'base/abi'), '.ts'),
  join(root, 'base/layout.ts'),
  join(root, 'node_modules/binaryen/package.json'),
];
const compiler = join(root, 'node_modules/assemblyscript/package.json');
const abi = join(fixtures, 'kernel/generated/abi.ts');

// What `ferry guest init` writes.
cpSync(join(fixtures, 'c'), join(root, 'dist/guest-c'), { recursive: true });

const guests = filesBelow(join(fixtures, 'tiny'), '.wat').map((file) => ({
  name: basename(file, '.wat'),
  inputs: [file, ...tools],
  compile: async () => readFileSync(file, 'utf8'),
}));
const kernel = join(fixtures, 'kernel');
if (existsSync(join(kernel, 'main.ts'))) {
  guests.push({
    name: 'kernel',
    inputs: [...filesBelow(kernel, '.ts'), ...tools, compiler],
    async compile() {
      const { compileAssemblyScript } = await import(join(toolchain, 'assemblyscript.js'));
      const module = await compileAssemblyScript(kernel, 'main.ts');
      // The kernel's own tests run it as the compiler leaves it.
      replaceFile(join(output, 'kernel.wasm'), module);
      return module;
    },
  });
}

const stamps = join(output, 'inputs.json');
const built = existsSync(stamps) ? JSON.parse(readFileSync(stamps, 'utf8')) : {};

/** Of the guests, those whose image is not of what is there now. */
const stale = () =>
  guests.filter(
    ({ name, inputs }) => built[name] !== hashOf(inputs) || !existsSync(join(output, `${name}.img`)),
  );

/** The guest that is being built. */
let building = 'guests';

async function build({ name, inputs, compile }) {
  const image = join(output, `${name}.img`);
  const started = performance.now();
  building = name;
  const { buildImage } = await import(join(toolchain, 'build.js'));
  const bytes = await buildImage(await compile(), { name });
  replaceFile(image, bytes);
  built[name] = hashOf(inputs);
  replaceFile(stamps, `${JSON.stringify(built, null, 2)}\n`);
  const kib = (bytes.length / 1024).toFixed(0);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`built ${relative(root, image)} (${kib} KiB, ${seconds} s)`);
}

async function buildAll() {
  const { bundle } = await import('./rolldown.mjs');
  const entries = TOOLCHAIN.map((name) => `guest-fixtures/toolchain/${name}.ts`);
  await bundle(toolchain, entries, { codeSplitting: true, sourcemap: false });
  const { writeAbi } = await import(join(toolchain, 'abi-constants.js'));
  if (writeAbi(abi)) console.log(`wrote ${relative(root, abi)}`);
  for (const guest of stale()) await build(guest);
}

mkdirSync(output, { recursive: true });
if (stale().length > 0) {
  try {
    await buildAll();
  } catch (error) {
    if (error.name !== 'FerryError') throw error;
    console.error(`${building}: ${error.message}\n${error.advice}`);
    process.exitCode = error.exitStatus;
  } finally {
    rmSync(toolchain, { recursive: true, force: true });
  }
}
