// SPDX-License-Identifier: Apache-2.0
// `psp certs show|renew|csr`: the certificates of a node, with those that a running node uses and those of its peers; new ones
// from the authority in a folder that `psp init` made; and a request for another authority. A running node uses changed files
// by itself. JSON: docs/schemas/certs_show.json, certs_renew.json and certs_csr.json.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { Certificate, KeyExchangeStatus } from '../../proto/gen/bus.js';
import { certificatesIn } from '../../services/shared/certificates/chain.js';
import { isoOf, timeLeft } from '../../services/shared/certificates/expiry.js';
import { identityOf, loadConfig, type NodeConfig } from '../../services/shared/config/config.js';
import { certificateOf, certificateUnusable, listed } from '../../services/shared/config/node_certificate.js';
import { readSecretFile } from '../../services/shared/config/node_file.js';
import { contracts } from '../../services/shared/contracts.js';
import { PspError } from '../../services/shared/errors.js';
import { isNodeName } from '../../services/shared/node_name.js';
import { unixMs } from '../../services/shared/process/clock.js';
import { asOperator, type SharedOptions } from '../operator.js';
import { formatAge, print, printJson, table } from '../output.js';
import { createGateway, createRequest, gatewayLifetimeMs, isPair, type KeyPair } from './certificates.js';
import { authorityFolder, lifetimeOption, readByKeyExchange } from './issuing.js';
import { NewFiles, readText } from './new_files.js';

interface RenewOptions extends SharedOptions {
  dir: string;
  lifetime: number;
}

const gatherMs = 400;
const timeoutMs = 2000;
const restoreAuthority = 'name the folder in which `psp init` made the authority with --dir';

const nodeName = (name: string, before: string[] | undefined): string[] => {
  if (!isNodeName(name)) throw new InvalidArgumentError('a name of a-z, 0-9 and - is expected');
  return [...(before ?? []), name];
};

/** Defines the subcommands and what they do. */
export function define(command: Command): void {
  command
    .command('show')
    .description(
      'show the certificates of the node file, whether a running node uses them, and those of peers',
    )
    .action((_, command: Command) => show(command.optsWithGlobals()));
  command
    .command('renew')
    .description('make a new key and certificate for these nodes, or for all in the folder')
    .argument('[node...]', 'names of the nodes', nodeName)
    .requiredOption('--dir <folder>', 'parent folder of the folders ca and <node>')
    .addOption(lifetimeOption('--lifetime <duration>', 'of the new certificates', gatewayLifetimeMs))
    .action((nodes: string[] | undefined, _, command: Command) =>
      renew([...new Set(nodes ?? [])], command.optsWithGlobals()),
    );
  command
    .command('csr')
    .description('print a certificate signing request for the key of the node file, for another authority')
    .action((_, command: Command) => request(command.optsWithGlobals()));
}

async function show({ config, json }: SharedOptions): Promise<void> {
  const node = loadConfig(config, process.env);
  const certificate = await certificateOf(node);
  const nowMs = unixMs();
  const files = certificate.describe();
  const faults = [...certificate.faults(nowMs), ...certificate.listFaults(nowMs)];
  const running = await runningOf(config);
  const inUse = running.length === 0 ? undefined : new Set(running.flatMap(fingerprintsOf));
  const peers = peersOf(running);
  if (json) {
    const shown = files.map((each) => ({ ...each, inUse: inUse?.has(each.fingerprint) ?? null }));
    return printJson({
      node: node.node,
      certificates: shown,
      faults: faults.map((each) => ({ ...each })),
      peers,
    });
  }
  if (faults.length > 0) print(`! ${listed(faults)}\n`);
  const use = (each: Certificate) => (inUse === undefined ? '-' : inUse.has(each.fingerprint) ? 'yes' : 'NO');
  print(
    table(
      [...head, 'IN USE'],
      files.map((each) => [...row(each, nowMs), use(each)]),
    ),
  );
  if (inUse === undefined) print('\nthe key exchange of this node does not run');
  if (peers.length > 0) {
    const rows = peers.map(({ name, presentedMs, certificate: each }) => [
      name,
      `${formatAge(nowMs - Number(presentedMs))} ago`,
      ...row(each, nowMs).slice(1),
    ]);
    print(`\n${table(['PEER', 'PRESENTED', ...head.slice(1)], rows)}`);
  }
}

const head = ['CERTIFICATE', 'NAME', 'ISSUED BY', 'VALID FROM', 'VALID UNTIL', 'LEFT', 'SHA-256'];

const row = (each: Certificate, nowMs: number): string[] => [
  each.kind,
  each.identity === '' ? each.subject : each.identity,
  each.issuer,
  isoOf(each.notBeforeMs).slice(0, 10),
  isoOf(each.notAfterMs).slice(0, 16),
  timeLeft(each.notAfterMs, nowMs),
  each.fingerprint,
];

/** The replicas of the key exchange; none if the node does not run. */
async function runningOf(config: string): Promise<KeyExchangeStatus[]> {
  try {
    return await asOperator(config, (bus) =>
      bus.requestAll(contracts.keyexchangeStatus, {}, gatherMs, timeoutMs),
    );
  } catch (error) {
    if (error instanceof PspError && error.code === 'BUS_UNAVAILABLE') return [];
    throw error;
  }
}

const fingerprintsOf = ({ certificates }: KeyExchangeStatus): string[] =>
  certificates.map(({ fingerprint }) => fingerprint);

/** The certificate that each peer presented last to any replica. */
function peersOf(running: readonly KeyExchangeStatus[]) {
  const latest = new Map<string, { name: string; presentedMs: bigint; certificate: Certificate }>();
  for (const { name, presentedMs, certificate } of running.flatMap(({ peers }) => peers)) {
    if (certificate === undefined || presentedMs <= (latest.get(name)?.presentedMs ?? 0n)) continue;
    latest.set(name, { name, presentedMs, certificate });
  }
  return [...latest.values()];
}

async function renew(named: string[], { dir, lifetime, json }: RenewOptions): Promise<void> {
  if (process.geteuid?.() !== 0) {
    throw new PspError('RIGHTS_MISSING', {
      what: 'psp certs renew',
      right: 'root, to change the owners of files',
    });
  }
  const authority = authorityIn(join(dir, authorityFolder));
  const nodes = (named.length > 0 ? named : nodesIn(dir)).map((node) =>
    loadConfig(join(dir, node, 'node.yaml'), process.env),
  );
  for (const node of nodes) demandTrust(node, authority);
  const files = new NewFiles();
  for (const { files: beside, trustDomain, node } of nodes) {
    const pair = await createGateway(authority, identityOf(trustDomain, node), unixMs(), lifetime);
    files.replace(beside.privateKey, pair.privateKey, readByKeyExchange);
    files.replace(beside.certificate, pair.certificate, readByKeyExchange);
  }
  if (json) return printJson({ made: files.made });
  for (const file of files.made) print(`made  ${file}`);
  print(
    '\nA node that runs with these files uses them within a few seconds. Copy them to the others, the key first.',
  );
}

/** The folders of nodes. */
function nodesIn(dir: string): string[] {
  const nodes = readdirSync(dir, { withFileTypes: true })
    .filter((each) => each.isDirectory() && each.name !== authorityFolder && isNodeName(each.name))
    .map(({ name }) => name)
    .filter((name) => readdirSync(join(dir, name)).includes('node.yaml'));
  if (nodes.length > 0) return nodes.sort();
  throw new PspError('FILE_UNREADABLE', {
    file: dir,
    detail: 'no folder of a node',
    remedy: restoreAuthority,
  });
}

/** @throws PspError FILE_UNREADABLE or CERTIFICATE_UNUSABLE */
function authorityIn(folder: string): KeyPair {
  const file = join(folder, 'ca.crt');
  const certificate = readText(file, restoreAuthority);
  const privateKey = readSecretFile(join(folder, 'ca.key')).toString('utf8');
  const pair = { certificate, privateKey };
  if (!isPair(pair)) {
    const remedy = `restore the file that belongs to it, or remove both and run \`psp init\``;
    throw new PspError('FILE_UNREADABLE', { file, detail: 'ca.key does not belong to it', remedy });
  }
  const [own] = certificatesIn(certificate);
  if (own !== undefined && Date.parse(own.validTo) <= unixMs()) {
    const detail = `expired on ${new Date(Date.parse(own.validTo)).toISOString()}`;
    const remedy = 'replace the authority (docs/operations.md)';
    throw certificateUnusable([{ file, expected: 'a valid authority', detail, remedy }]);
  }
  return pair;
}

/** A node that does not trust the authority could not use what it issues. @throws PspError */
function demandTrust({ files }: NodeConfig, { certificate }: KeyPair): void {
  const trusted = certificatesIn(readText(files.ca, 'make it with `psp init`'));
  const [authority] = certificatesIn(certificate);
  if (trusted.some((each) => authority?.raw.equals(each.raw))) return;
  const detail = 'does not contain the authority of this folder';
  const remedy = 'append ca/ca.crt to it on every node first, and let it take effect';
  throw certificateUnusable([{ file: files.ca, expected: 'ca/ca.crt', detail, remedy }]);
}

async function request({ config, json }: SharedOptions): Promise<void> {
  const { files, trustDomain, node } = loadConfig(config, process.env);
  const identity = identityOf(trustDomain, node);
  const key = readSecretFile(files.privateKey);
  try {
    const csr = await createRequest(key, identity);
    if (json) printJson({ identity, csr });
    else print(csr);
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : 'no private key';
    const remedy = 'put an EC key (P-256, P-384) or an RSA key there';
    throw new PspError('FILE_UNREADABLE', { file: files.privateKey, detail, remedy }, { cause });
  } finally {
    key.fill(0);
  }
}
