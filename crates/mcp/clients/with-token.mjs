// A proxy that shows the daemon's token, for clients that cannot.
//
// usage: with-token.mjs ADDRESS TOKEN-FILE      prints the port that it listens at
//
// Everything else is passed on as it comes, Host and Origin included: whether those are checked is a
// question to the daemon.
import { readFileSync } from 'node:fs';
import http from 'node:http';

const [address, file] = process.argv.slice(2);
const [host, port] = address.split(':');
const token = readFileSync(file, 'utf8').trim();

const server = http.createServer((request, response) => {
    const headers = { ...request.headers, authorization: `Bearer ${token}` };
    const options = { host, port, method: request.method, path: request.url, headers };
    const upstream = http.request(options, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        response.flushHeaders();
        answer.pipe(response);
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
    request.pipe(upstream);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
