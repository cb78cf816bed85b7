/** Certificates made for a test, by `openssl`: a CA, and whom it vouches for. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const hasOpenssl = existsSync('/usr/bin/openssl');

export interface Issued {
  /** `CN=` and more, as `openssl req -subj` takes it. */
  readonly subject?: string;
  readonly names?: string;
  readonly usage?: 'clientAuth' | 'serverAuth' | 'clientAuth,serverAuth';
  /** `YYYYMMDDHHMMSSZ`. */
  readonly from?: string;
  readonly until?: string;
}

/** A CA in a folder of its own. */
export class Authority {
  readonly folder = mkdtempSync(join(tmpdir(), 'ferry-ca-'));
  #issued = 0;

  constructor() {
    this.#openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'],
      ...['-subj', '/CN=test CA', '-keyout', 'ca-key.pem', '-out', 'ca-cert.pem'],
      ...['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    );
    writeFileSync(join(this.folder, 'index'), '');
    writeFileSync(
      join(this.folder, 'ca.conf'),
      '[ca]\ndefault_ca=c\n[c]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=1\npolicy=p\n' +
        'new_certs_dir=.\nrand_serial=yes\nunique_subject=no\ncopy_extensions=copy\n[p]\ncommonName=supplied\norganizationName=optional\n',
    );
  }

  close(): void {
    rmSync(this.folder, { recursive: true });
  }

  /** A directory of credentials: the same certificate for both roles. */
  credentials(how: Issued = {}): string {
    const {
      subject = '/CN=host',
      names = 'IP:127.0.0.1,DNS:host.test',
      usage = 'clientAuth,serverAuth',
    } = how;
    const name = `host${this.#issued++}`;
    this.#openssl(
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', subject],
      ...['-keyout', `${name}-key.pem`, '-out', `${name}.csr`],
      ...['-addext', `subjectAltName=${names}`, '-addext', `extendedKeyUsage=${usage}`],
    );
    const { from = '20200101000000Z', until = '20991231000000Z' } = how;
    this.#openssl(
      ...['ca', '-config', 'ca.conf', '-batch', '-keyfile', 'ca-key.pem', '-cert', 'ca-cert.pem', '-notext'],
      ...['-startdate', from, '-enddate', until, '-in', `${name}.csr`, '-out', `${name}-cert.pem`],
    );
    const directory = join(this.folder, name);
    mkdirSync(directory);
    copyFileSync(join(this.folder, 'ca-cert.pem'), join(directory, 'ca-cert.pem'));
    for (const role of ['client', 'server']) {
      copyFileSync(join(this.folder, `${name}-cert.pem`), join(directory, `${role}-cert.pem`));
      copyFileSync(join(this.folder, `${name}-key.pem`), join(directory, `${role}-key.pem`));
    }
    return directory;
  }

  /** From now on the certificate in `revoked` is, for who has `directory`. */
  revoke(revoked: string, directory: string): void {
    const common = ['ca', '-config', 'ca.conf', '-keyfile', 'ca-key.pem', '-cert', 'ca-cert.pem'];
    this.#openssl(...common, '-revoke', join(revoked, 'client-cert.pem'));
    this.#openssl(...common, '-gencrl', '-out', join(directory, 'ca-crl.pem'));
  }

  #openssl(...args: readonly string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: 'pipe' });
  }
}
