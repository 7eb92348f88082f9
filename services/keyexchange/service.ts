// SPDX-License-Identifier: Apache-2.0
// Wires the key exchange and orders its life. Start: listen, give up rights, join the bus, serve. Stop: in
// reverse, each step with a deadline.
import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import { AuditTrail, makeAuditFolder } from '../shared/audit/trail.js';
import { Bus } from '../shared/bus/bus.js';
import { certificateUnusable, readNodeCertificate } from '../shared/config/node_certificate.js';
import { contracts } from '../shared/contracts.js';
import { unixMs } from '../shared/process/clock.js';
import type { Logger } from '../shared/process/log.js';
import type { Dropped } from '../shared/process/privileges.js';
import { version } from '../shared/process/version.js';
import { within } from '../shared/process/within.js';
import { Answerer } from './adapters/answerer.js';
import { Dataplane } from './adapters/dataplane_client.js';
import { LinkReport } from './adapters/link_report.js';
import { PeerClient } from './adapters/peer_client.js';
import { PeerCredentials } from './adapters/peer_credentials.js';
import { PeerServer } from './adapters/peer_server.js';
import { Refusals } from './adapters/refusals.js';
import { Report } from './adapters/report.js';
import { Requester } from './adapters/requester.js';
import type { KeyExchangeConfig } from './config.js';

export interface KeyExchange {
  /** Port on which peers reach us. */
  port: number;
  stop(): Promise<void>;
}

const stepMs = 1500;
const statsMs = 1000;
/** For the last events to reach the stream; what does not stays on disk. */
const auditMs = 500;

/**
 * Starts the service; waits for the bus as long as it takes.
 * @param onListening called once nothing is left that needs more rights.
 * @throws PspError FILE_UNREADABLE, SECRET_EXPOSED, CERTIFICATE_UNUSABLE, ADDRESS_TAKEN or ADDRESS_UNUSABLE.
 */
export async function startKeyExchange(
  config: KeyExchangeConfig,
  log: Logger,
  onListening: () => Dropped = () => ({ dropped: true }),
): Promise<KeyExchange> {
  // gRPC would write lines of its own beside ours.
  setLogVerbosity(logVerbosity.NONE);
  const { rules } = config;
  const certificate = readNodeCertificate(config.tls, config.identity);
  const faults = certificate.faults(unixMs());
  if (faults.length > 0) throw certificateUnusable(faults);
  const report = new Report(rules, certificate, log);
  const refusals = new Refusals();
  const server = new PeerServer(rules.peers.values(), report, refusals);
  const port = await server.bind(config.listen, certificate);
  const auditFolder = makeAuditFolder(config.audit.stateDir, 'keyexchange');
  const rights = onListening();
  if (!rights.dropped) log.info({ reason: rights.reason }, 'rights kept');
  const audit = await AuditTrail.begin(rules.node, 'keyexchange', auditFolder, config.audit);
  refusals.useTrail(audit);
  report.useAudit(audit);
  const bus = await Bus.connect({
    ...config.bus,
    node: rules.node,
    user: 'keyexchange',
    onState: (connected) => report.busState(connected),
    onWaiting: ({ code, message }) => log.warn({ code, err: message }, 'waiting for the bus'),
    onFault: (subject, err) => log.error({ subject, err }, 'bus message failed'),
  });
  report.useBus(bus.counters);
  log.info('bus connected');
  const id = await bus.announce('Exchanges keys with other gateways', version);
  const dataplane = new Dataplane(bus, rules.node, config.bus.secret);
  const links = new LinkReport(rules, audit, log);
  const clients = new Map(
    Array.from(rules.peers.values(), (peer) => [
      peer.name,
      new PeerClient(peer, new PeerCredentials(peer, certificate), links),
    ]),
  );
  report.usePeers(clients);
  const requester = new Requester(rules, dataplane, clients, report);
  const answerer = new Answerer(rules, dataplane, report.tally);
  requester.start();
  server.serve((peer, request, call) => answerer.answer(peer, request, call));
  bus.respond(contracts.keyExchangeStatus, () => report.status(id));
  const stats = setInterval(() => {
    refusals.tick();
    report.tick();
    links.tick();
    for (const client of clients.values()) client.tend();
    bus.publish(contracts.keyExchangeStats, report.stats(id), id);
  }, statsMs);
  await bus.flush();
  log.info({ listen: config.listen }, 'key exchange started');
  return {
    port,
    stop: async () => {
      clearInterval(stats);
      await Promise.all([server.stop(stepMs), within(stepMs, requester.stop())]);
      for (const client of clients.values()) client.close();
      refusals.tick(true);
      await within(stepMs, audit.end('asked', auditMs));
      await within(stepMs, bus.close());
      config.bus.secret.fill(0);
      log.info('key exchange stopped');
    },
  };
}
