/** `ferry guest init|build|inspect`: begins a guest in C, makes bootable images of WebAssembly modules, and tells what is in one. */

import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, extname, resolve } from 'node:path';
import type { Command } from 'commander';
import {
  SECTION_CODE_LOG,
  SECTION_CODE_POSTCOPY,
  SECTION_CODE_RUN,
  SECTION_DATA,
  SECTION_META,
} from '../../base/abi/image.js';
import { isFerryError } from '../../base/errors.js';
import type { ImageDescription } from '../../guest-fixtures/toolchain/describe.js';
import { builtFile } from '../../vmm/built.js';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { labErrors } from '../errors.js';
import { asGroup } from '../options/command-group.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { table } from '../report/table.js';
import { formatBytes, formatCount } from '../report/words.js';

const SECTION_NAMES: Readonly<Record<number, string>> = {
  [SECTION_META]: 'meta',
  [SECTION_DATA]: 'data',
  [SECTION_CODE_RUN]: 'code: run',
  [SECTION_CODE_LOG]: 'code: log',
  [SECTION_CODE_POSTCOPY]: 'code: postcopy',
};

export function define(command: Command): void {
  command.addHelpText(
    'after',
    `
Examples:
  ferry guest init my-guest
  ferry guest build kernel.wasm
  ferry guest inspect kernel.img

${exitStatuses('it was done', ['refused', 'environment'])}`,
  );
  asGroup(command);
  defineInit(
    command.command('init').description('begin a guest in C, with a driver of the virtual function'),
  );
  defineBuild(command.command('build').description('turn a wasm module into a bootable image'));
  defineInspect(command.command('inspect').description('tell what is in an image'));
}

function defineInit(command: Command): void {
  command
    .argument('<folder>', 'where its files go; there is no such folder, or nothing in it')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
Writes a header and a library for the machine, a driver of the 82599's virtual function, a guest that answers ping and UDP
echo by it, and a Makefile. It takes clang and lld to build it; docs/guests-in-c.md tells more.

Examples:
  ferry guest init my-guest

${exitStatuses('the files were written', ['environment'])}`,
    )
    .action((folder: string) => {
      const { json } = command.optsWithGlobals<{ json?: boolean }>();
      try {
        if (existsSync(folder) && readdirSync(folder).length > 0) {
          throw labErrors.error('usage', {
            why: `there is something in ${folder}`,
            command: 'ferry guest init',
          });
        }
        const template = builtFile('guest-c');
        cpSync(template, folder, { recursive: true });
        const files = readdirSync(template).sort();
        process.stdout.write(
          json
            ? `${JSON.stringify({ folder, files }, null, 2)}\n`
            : `${folder}: ${files.join(', ')}\n\nNow: cd ${folder} && make && make run\n`,
        );
      } catch (error) {
        if (isFerryError(error)) throw error;
        throw labErrors.error(
          'file-failed',
          { path: folder, what: 'written', reason: reasonOf(error) },
          error,
        );
      }
    });
}

/** Loaded only to build: it stands on a package that is larger than all the rest, and that nothing else needs. */
async function toolchain(): Promise<typeof import('../../guest-fixtures/toolchain/build.js')> {
  try {
    return await import('../../guest-fixtures/toolchain/build.js');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ERR_MODULE_NOT_FOUND' || !message.includes("'binaryen'")) throw error;
    throw labErrors.error('package-missing', { name: 'binaryen', command: 'ferry guest build' }, error);
  }
}

function defineBuild(command: Command): void {
  command
    .argument('<file>', 'a WebAssembly module: binary, or text (.wat)')
    .option('-o, --output <image>', 'where the image goes (default: the file with the ending .img)')
    .option('--name <name>', "the guest's name in reports (default: from the file)")
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
A guest imports from module 'ferry': memory, mmio_read, mmio_write, clock_ns, timer_program, halt, irq_save,
irq_restore, cpu_id; and exports start_kernel(boot_params), irq_entry(vector), and for more than one vCPU
secondary_start(cpu). What can't be instrumented is refused, with the function and the instruction.

Examples:
  ferry guest build guest.wasm -o guest.img
  ferry guest build tiny.wat && ferry vmm --guest tiny.img --monitor unix:a.sock

${exitStatuses('the image was written', ['refused', 'environment'])}`,
    )
    .action(async (file: string) => {
      const { output, name, json } = command.optsWithGlobals<{
        output?: string;
        name?: string;
        json?: boolean;
      }>();
      const source = read(file);
      const extension = extname(file);
      const stem = basename(file, extension);
      const target = output ?? `${file.slice(0, file.length - extension.length)}.img`;
      if (resolve(target) === resolve(file)) {
        const why = `the image would take the place of ${file} itself; give another name with --output`;
        throw labErrors.error('usage', { why, command: 'ferry guest build' });
      }
      const { buildImage } = await toolchain();
      const { describeImage } = await import('../../guest-fixtures/toolchain/describe.js');
      const image = await buildImage(extension === '.wat' ? source.toString('utf8') : source, {
        name: name ?? stem,
      });
      try {
        writeFileSync(target, image);
      } catch (error) {
        throw labErrors.error(
          'file-failed',
          { path: target, what: 'written', reason: reasonOf(error) },
          error,
        );
      }
      const description = describeImage(image);
      process.stdout.write(
        json
          ? `${JSON.stringify({ image: target, ...description }, null, 2)}\n`
          : `${target}: ${formatBytes(image.length)}, sha256 ${description.contentHash.slice(0, 16)}\n`,
      );
    });
}

function defineInspect(command: Command): void {
  command
    .argument('<image>', 'an image made by `ferry guest build`')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      '\nExamples:\n  ferry guest inspect kernel.img\n  ferry guest inspect kernel.img --json | jq .registers' +
        `\n${exitStatuses('it is an image, whole and of this version', ['refused', 'environment'])}`,
    )
    .action(async (image: string) => {
      const { json } = command.optsWithGlobals<{ json?: boolean }>();
      const bytes = read(image);
      const { describeImage } = await import('../../guest-fixtures/toolchain/describe.js');
      const description = describeImage(bytes);
      process.stdout.write(json ? `${JSON.stringify(description, null, 2)}\n` : imageText(description));
    });
}

function read(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw labErrors.error('file-failed', { path: file, what: 'read', reason: reasonOf(error) }, error);
  }
}

function imageText(image: ImageDescription): string {
  const facts: [string, string][] = [
    ['name', image.name],
    ['size', formatBytes(image.totalBytes)],
    ['sha256', image.contentHash],
    ['RAM at least', formatBytes(image.ramBytesMin)],
    ['initial data', `${formatBytes(image.dataBytes)}, ends at 0x${image.dataEnd.toString(16)}`],
    ['more than one vCPU', image.smp ? 'yes' : 'no'],
    ['functions', formatCount(image.functions)],
    ['registers', image.registers.map(({ name, type }) => `${name}: ${type}`).join(', ')],
  ];
  return [
    ...facts.map(([name, value]) => `${name.padEnd(20)}${value}`),
    '',
    table(
      ['section', 'offset', 'size', 'loads at'],
      image.sections.map(({ kind, offset, lengthBytes, gpa }) => [
        SECTION_NAMES[kind] ?? `kind ${kind}`,
        `0x${offset.toString(16)}`,
        formatBytes(lengthBytes),
        gpa === 0 ? '' : `0x${gpa.toString(16)}`,
      ]),
    ),
    table(
      ['code variant', 'size', 'of run', 'imports', 'exports'],
      image.variants.map(({ variant, codeBytes, growth, imports, exports }) => [
        variant,
        formatBytes(codeBytes),
        growth.toFixed(2),
        String(imports.length),
        String(exports.length),
      ]),
    ),
    '',
  ].join('\n');
}
