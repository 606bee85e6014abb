// A client in Node: makes the Generate calls given as JSON, one after the other, and prints what each gave.
// Arguments: folder of the node packages, folder of the .proto files, address, a list of requests. It talks TLS if the
// variable UNROLLED_CA names a file of certificates, and shows the token in UNROLLED_TOKEN if there is one.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [packages, protos, address, requests] = process.argv.slice(2);
const require = createRequire(join(packages, "package.json"));
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync(["unrolled/v1/generation.proto", "unrolled/v1/error.proto"], {
  includeDirs: [protos],
  longs: String,
  enums: String,
  oneofs: true,
});
const { GenerationService } = grpc.loadPackageDefinition(definition).unrolled.v1;
const { UNROLLED_CA: ca, UNROLLED_TOKEN: token } = process.env;
const credentials = ca ? grpc.credentials.createSsl(readFileSync(ca)) : grpc.credentials.createInsecure();
const client = new GenerationService(address, credentials);
const metadata = new grpc.Metadata();
if (token) metadata.set("authorization", `Bearer ${token}`);

function generate(request) {
  return new Promise((resolve) => {
    const texts = [];
    let finish = null;
    const call = client.generate(request, metadata);
    call.on("data", (message) => {
      if (message.event === "chunk") texts.push(message.chunk.text);
      else finish = message.finish;
    });
    call.on("error", (error) => resolve({ texts, code: error.code, details: error.details }));
    call.on("end", () => finish && resolve({ texts, finish, code: grpc.status.OK }));
  });
}

const results = [];
for (const request of JSON.parse(requests)) results.push(await generate(request));
console.log(JSON.stringify(results));
client.close();
