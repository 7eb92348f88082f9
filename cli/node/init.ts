// SPDX-License-Identifier: Apache-2.0
// `psp init NODE... --dir D`: creates everything that nodes need before their first start: an authority for all of
// them, and per node its node file, certificate, bus secret and bus passwords, each readable by the one account that
// reads it. Existing files are kept, never overwritten, so that a later call adds nodes under the same authority. Certificates
// have a lifetime that options change; `psp certs renew` makes new ones. `--rotate-bus-secret` replaces the bus secrets of nodes
// that were made before, and nothing else; a running node uses the new one by itself.
// JSON: { made: [file], kept: [file] }.
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { newBusSecret, passwordFileOf } from '../../services/shared/bus/secret.js';
import {
  checkConfig,
  configInvalid,
  filesBeside,
  identityOf,
  type NodeConfig,
} from '../../services/shared/config/config.js';
import { type BusUser, busUsers } from '../../services/shared/contracts.js';
import { PspError } from '../../services/shared/errors.js';
import { isNodeName } from '../../services/shared/node_name.js';
import { unixMs } from '../../services/shared/process/clock.js';
import { accounts, keysGroup } from '../../services/shared/process/privileges.js';
import type { SharedOptions } from '../operator.js';
import { print, printJson } from '../output.js';
import {
  authorityLifetimeMs,
  createAuthority,
  createGateway,
  gatewayLifetimeMs,
  type KeyPair,
} from './certificates.js';
import { authorityFolder, lifetimeOption, readByKeyExchange } from './issuing.js';
import { makeFolder, NewFiles, readText } from './new_files.js';
import { nodeTemplate } from './node_template.js';

interface InitOptions extends SharedOptions {
  dir: string;
  from?: string;
  lifetime: number;
  caLifetime: number;
  rotateBusSecret?: boolean;
}

const root = 0;
const readByKeysGroup = { mode: 0o640, group: keysGroup };
const readerOf = (user: BusUser): number => (user === 'operator' ? root : accounts[user].gid);

const nodeName = (name: string, before: string[] | undefined): string[] => {
  if (!isNodeName(name)) throw new InvalidArgumentError('a name of a-z, 0-9 and - is expected');
  if (name === authorityFolder) throw new InvalidArgumentError('ca is the folder of the authority');
  return [...(before ?? []), name];
};

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command
    .argument('<node...>', 'names of the nodes', nodeName)
    .requiredOption('--dir <folder>', 'parent folder of the folders ca and <node>')
    .option('--from <folder>', 'copy <node>.yaml from this folder instead of using a template')
    .addOption(lifetimeOption('--lifetime <duration>', 'of the certificates of nodes', gatewayLifetimeMs))
    .addOption(lifetimeOption('--ca-lifetime <duration>', 'of a new authority', authorityLifetimeMs))
    .option(
      '--rotate-bus-secret',
      'only replace the bus secret of these nodes, which exist; nodes that run use the new one within a few seconds',
    )
    .action((nodes: string[], _, command: Command) => init([...new Set(nodes)], command.optsWithGlobals()));
}

async function init(nodes: string[], options: InitOptions): Promise<void> {
  const { dir, from, json, lifetime, caLifetime, rotateBusSecret = false } = options;
  if (process.geteuid?.() !== root) {
    throw new PspError('RIGHTS_MISSING', {
      what: 'psp init',
      right: 'root, to change the owners of files',
    });
  }
  if (rotateBusSecret) {
    rotateBusSecrets(nodes, dir, json);
    return;
  }
  const plans = nodes.map((node) => planOf(node, nodes, dir, from));
  const files = new NewFiles();
  const authority = await authorityIn(join(dir, authorityFolder), files, caLifetime);
  for (const plan of plans) await writeNode(plan, authority, files, lifetime);
  if (json) return printJson({ made: files.made, kept: files.kept });
  for (const file of files.made) print(`made  ${file}`);
  for (const file of files.kept) print(`kept  ${file}`);
  print(
    `\nCopy ${join(dir, '<node>')} to its machine, with owners and modes. Run there first: psp config check <node>/node.yaml`,
  );
  print('Then: psp up -c <node>/node.yaml');
  print(`Keep ${join(dir, 'ca/ca.key')} secret: whoever has it can impersonate any gateway.`);
}

/** @throws PspError FILE_UNREADABLE if one of the nodes was not made before; then nothing is replaced. */
function rotateBusSecrets(nodes: readonly string[], dir: string, json: boolean | undefined): void {
  const present = nodes.map((node) => {
    const { busSecret } = filesBeside(join(dir, node, 'node.yaml'));
    if (existsSync(busSecret)) return busSecret;
    const remedy = 'name the folder that `psp init` made with --dir, and a node in it';
    throw new PspError('FILE_UNREADABLE', { file: busSecret, detail: 'ENOENT', remedy });
  });
  const files = new NewFiles();
  for (const file of present) {
    const secret = newBusSecret();
    files.replace(file, secret, readByKeysGroup);
    secret.fill(0);
  }
  if (json) {
    printJson({ made: files.made, kept: files.kept });
    return;
  }
  for (const file of files.made) print(`made  ${file}`);
  print(
    '\nA node that runs with these files uses them within a few seconds. Copy the others to their machines.',
  );
}

interface Plan {
  folder: string;
  /** The content that node.yaml has or will have. */
  content: string;
  config: NodeConfig;
}

/** Reads and checks everything before anything is written. @throws PspError FILE_UNREADABLE, CONFIG_INVALID. */
function planOf(node: string, nodes: readonly string[], dir: string, from: string | undefined): Plan {
  const folder = join(dir, node);
  const present = join(folder, 'node.yaml');
  const source = existsSync(present) ? present : from === undefined ? undefined : join(from, `${node}.yaml`);
  const content =
    source === undefined ? nodeTemplate(node, nodes) : readText(source, 'name the right folder with --from');
  const file = source ?? present;
  const result = checkConfig(content, file);
  if ('faults' in result) throw configInvalid(file, result.faults);
  if (result.config.node !== node) {
    throw configInvalid(file, [
      { path: 'node', expected: node, received: JSON.stringify(result.config.node) },
    ]);
  }
  return { folder, content, config: result.config };
}

async function authorityIn(folder: string, files: NewFiles, lifetimeMs: number): Promise<KeyPair> {
  makeFolder(folder);
  return files.pair(
    join(folder, 'ca.crt'),
    join(folder, 'ca.key'),
    () => createAuthority(unixMs(), lifetimeMs),
    {
      certificate: { mode: 0o644, group: root },
      privateKey: { mode: 0o600, group: root },
    },
  );
}

async function writeNode(
  { folder, content, config }: Plan,
  authority: KeyPair,
  files: NewFiles,
  lifetimeMs: number,
): Promise<void> {
  const beside = filesBeside(join(folder, 'node.yaml'));
  for (const each of [folder, join(folder, 'tls'), beside.passwords]) makeFolder(each);
  files.put(beside.config, content, { mode: 0o644, group: root });
  files.put(beside.ca, authority.certificate, { mode: 0o644, group: root });
  const identity = identityOf(config.trustDomain, config.node);
  await files.pair(
    beside.certificate,
    beside.privateKey,
    () => createGateway(authority, identity, unixMs(), lifetimeMs),
    { certificate: readByKeyExchange, privateKey: readByKeyExchange },
  );
  const secret = newBusSecret();
  files.put(beside.busSecret, secret, readByKeysGroup);
  secret.fill(0);
  for (const user of busUsers) {
    const password = randomBytes(32).toString('hex');
    files.put(passwordFileOf(beside.passwords, user), password, { mode: 0o640, group: readerOf(user) });
  }
}
