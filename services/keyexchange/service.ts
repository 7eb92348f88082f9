// SPDX-License-Identifier: Apache-2.0
// Wires the key exchange and orders its life. Start: listen, drop privileges, join the bus. Until the bus is connected,
// peers receive SERVICE_DOWN. Stop: in reverse, each step with a deadline.
import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import { flowKeyOf } from '../shared/address.js';
import type { Logger } from '../shared/process/log.js';
import type { Dropped } from '../shared/process/privileges.js';
import { within } from '../shared/process/within.js';
import { BusSecretFile } from '../shared/service/bus_secret_file.js';
import { FaultList } from '../shared/service/fault_list.js';
import { FlowTraces } from '../shared/service/flow_traces.js';
import type { RunningService } from '../shared/service/service_process.js';
import { ServiceRuntime } from '../shared/service/service_runtime.js';
import { Answerer } from './adapters/answerer.js';
import { CertificateFiles } from './adapters/certificate_files.js';
import { CertificateReport } from './adapters/certificate_report.js';
import { Connections } from './adapters/connections.js';
import { DataplaneClient } from './adapters/dataplane_client.js';
import { Greeter } from './adapters/greeter.js';
import { LinkReport } from './adapters/link_report.js';
import { PeerClient } from './adapters/peer_client.js';
import { PeerServer } from './adapters/peer_server.js';
import { Refusals } from './adapters/refusals.js';
import { Report } from './adapters/report.js';
import { Requester } from './adapters/requester.js';
import { RulesReload } from './adapters/rules_reload.js';
import { insecureListenOf, type KeyExchangeConfig, rulesOf } from './config.js';

export interface KeyExchange extends RunningService {
  /** Port on which peers reach us. */
  port: number;
  /** Port without TLS, if there is one. */
  insecurePort: number | undefined;
}

const tickMs = 1000;
const stepMs = 1500;

/**
 * Starts the service; resolves once peers can connect, whether or not there is a bus.
 * @param drop drops privileges; called once nothing is left that needs them.
 * @throws PspError FILE_UNREADABLE, FILE_UNWRITABLE, SECRET_EXPOSED, CERTIFICATE_UNUSABLE, ADDRESS_TAKEN or ADDRESS_UNUSABLE.
 */
export async function startKeyExchange(
  config: KeyExchangeConfig,
  log: Logger,
  drop: () => Dropped = () => ({ dropped: true }),
): Promise<KeyExchange> {
  // gRPC would write log lines in its own format.
  setLogVerbosity(logVerbosity.NONE);
  const rules = { ...config.rules };
  const files = await CertificateFiles.open(config.tls, config.identity);
  const runtime = new ServiceRuntime('keyexchange', config, log);
  const { audit, bus } = runtime;
  const refusals = new Refusals(audit);
  const links = new LinkReport(rules, audit, log);
  const clients = new Map(
    Array.from(rules.peers.values(), (peer) => [peer.name, new PeerClient(peer, files, links)]),
  );
  const connections = new Connections(rules.limits.connections, (name) => report.tally.count(name));
  const report: Report = new Report(rules, clients, connections, log);
  const certificates = new CertificateReport(files, audit, log, report.tally);
  const faults = new FaultList();
  const secret = new BusSecretFile(config.bus.secret, audit, faults, log);
  const dataplane = new DataplaneClient(bus, rules.node, config.bus.secret.octets, secret);
  const traces = new FlowTraces();
  dataplane.onTrace((flow) => traces.of(flowKeyOf(flow)));
  const answerer = new Answerer(rules, dataplane, report.tally, traces);
  const requester = new Requester(rules, dataplane, clients, report, traces);
  const greeter = new Greeter(dataplane, clients, report, (epoch) => answerer.epochSeen(epoch));
  const server = new PeerServer(rules, answerer, greeter, connections, report, refusals);
  const port = await server.listen(config.listen, files);
  const { insecureListen } = config;
  const insecurePort =
    insecureListen === undefined ? undefined : await server.listenInPlaintext(insecureListen);
  await runtime.begin(drop);
  secret.begin(dataplane);
  for (const client of clients.values()) client.connect();
  dataplane.onStarted((epoch) => answerer.epochSeen(epoch));
  requester.start((epoch) => answerer.epochSeen(epoch));
  greeter.start();
  const parts = { rules, clients, files, links, report, server };
  const reloading = new RulesReload(parts, config.insecureListen, (node) => ({
    rules: rulesOf(node),
    insecureListen: insecureListenOf(node),
  }));
  const joined = runtime.join(() => report.read(certificates.read(), faults.list()), reloading);
  const ticks = setInterval(() => {
    refusals.tick();
    void files.look(certificates);
    secret.look();
    certificates.tick();
    report.tick();
    links.tick();
    server.judge();
    for (const client of clients.values()) client.tend();
  }, tickMs);
  void joined.then(() => {
    log.info({ listen: config.listen }, 'key exchange started');
    if (insecureListen !== undefined)
      log.warn({ listen: insecureListen }, 'key exchange without TLS started');
  });
  return {
    port,
    insecurePort,
    joined,
    stop: async () => {
      clearInterval(ticks);
      await Promise.all([
        server.stop(stepMs),
        within(stepMs, requester.stop()),
        within(stepMs, greeter.stop()),
      ]);
      for (const client of clients.values()) client.close();
      refusals.tick(true);
      await runtime.leave();
      dataplane.wipe();
      log.info('key exchange stopped');
    },
  };
}
