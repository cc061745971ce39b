#!/usr/bin/env python3
"""Builds the base, each component on it and each overlay, and checks what comes of it. Called by deploy/check.sh.

Usage: deploy/kubernetes/check.py [PROGRAM]   PROGRAM: a pgweir that checks the configurations
       deploy/kubernetes/check.py --write     copy rules and SQL from deploy/prometheus and deploy/config
Needs kubernetes-validate; uses kustomize or kubectl, node and npm, promtool where they are. What is not there is
named and left out.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VERSIONS = ["1.29.0", "1.37.0"]
# Types and validators of the custom resources: where each is found, and which packages hold them.
PACKAGES = {
    "@kubernetes-models/prometheus-operator": "6.0.0",
    "@kubernetes-models/cert-manager": "6.0.0",
    "@kubernetes-models/keda": "2.0.0",
    "@kubernetes-models/cloudnative-pg": "2.0.0",
    "typescript": "5.9.3",
}
MODULES = {
    "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
    "cert-manager.io/v1": "@kubernetes-models/cert-manager/cert-manager.io/v1",
    "keda.sh/v1alpha1": "@kubernetes-models/keda/keda.sh/v1alpha1",
    "postgresql.cnpg.io/v1": "@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1",
}
mistakes = []


def wrong(place, text):
    mistakes.append(f"{place}: {text}")


def run(command, **more):
    return subprocess.run(command, capture_output=True, text=True, **more)


# Copies: kustomize reads no file outside of its folder.


def rules():
    text = (
        "# Recording rules and alerts of deploy/prometheus, copied by `deploy/kubernetes/check.py --write`.\n"
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
        "metadata: { name: pgweir, labels: { app.kubernetes.io/name: pgweir } }\nspec:\n  groups:\n"
    )
    for name in ["recording.yml", "alerts.yml"]:
        groups = (ROOT / "deploy/prometheus" / name).read_text().split("\ngroups:\n", 1)[1]
        text += "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))
    return text


def copies():
    return {
        HERE / "components/monitoring/prometheus-rule.yaml": rules(),
        HERE / "overlays/cloudnative-pg/pgweir-role.sql": (ROOT / "deploy/config/pgweir-role.sql").read_text(),
    }


# Building


def builder():
    for command in [["kustomize", "build"], ["kubectl", "kustomize"]]:
        if shutil.which(command[0]):
            return command
    return None


def built(scratch):
    """Name and text of everything that somebody could apply."""
    yield "pgweir.yaml", (HERE / "pgweir.yaml").read_text()
    command = builder()
    if command is None:
        print("components and overlays: left out, there is neither kustomize nor kubectl")
        return
    folders = {f"overlays/{path.name}": path for path in sorted((HERE / "overlays").iterdir())}
    for component in sorted((HERE / "components").iterdir()):
        alone = scratch / "alone" / component.name
        alone.mkdir(parents=True)
        base, part = os.path.relpath(HERE / "base", alone), os.path.relpath(component, alone)
        (alone / "kustomization.yaml").write_text(json.dumps({"resources": [base], "components": [part]}))
        folders[f"components/{component.name}"] = alone
    folders["base"] = HERE / "base"
    for name, folder in folders.items():
        done = run([*command, str(folder)])
        if done.returncode:
            wrong(name, done.stderr.strip())
        else:
            yield name, done.stdout
            if done.stderr.strip():
                wrong(name, done.stderr.strip())
    print(f"{len(folders)} builds ({' '.join(command)})")


# Schemas


def core(name, document):
    import kubernetes_validate

    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(step) for step in error.path)
            wrong(name, f"{document['kind']} {document['metadata']['name']}, Kubernetes {version}: {path}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            wrong(name, error.message)


def tools_of_npm():
    folder = ROOT / "target/manifest-tools/npm"
    if not (shutil.which("node") and shutil.which("npm")):
        print("custom resources: left out, there is neither node nor npm")
        return None
    wanted = json.dumps({"private": True, "type": "module", "dependencies": PACKAGES})
    package = folder / "package.json"
    if not (folder / "node_modules/.bin/tsc").exists() or package.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        package.write_text(wanted)
        done = run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=folder)
        if done.returncode:
            shutil.rmtree(folder)
            print("custom resources: left out, npm cannot fetch their schemas")
            return None
    return folder


def custom(documents):
    """The validators look at types, values and what must be there; the compiler refuses unknown fields."""
    folder = tools_of_npm()
    if folder is None or not documents:
        return
    types, values = [], []
    for number, (name, document) in enumerate(documents):
        module, kind = MODULES[document["apiVersion"]], document["kind"]
        text = json.dumps(document)
        what = json.dumps(f"{name}: {kind} {document['metadata']['name']}")
        types.append(f"import {{ I{kind} as I{number} }} from '{module}';\nexport const m{number}: I{number} = {text};\n")
        values.append(
            f"import {{ {kind} as K{number} }} from '{module}';\n"
            f"try {{ new K{number}({text}).validate(); }} catch (e) {{ console.log({what} + ': ' + e.message); }}\n"
        )
    (folder / "all.ts").write_text("".join(types))
    (folder / "all.mjs").write_text("".join(values))
    done = run(["node", "all.mjs"], cwd=folder)
    mistakes.extend(line for line in (done.stdout + done.stderr).splitlines() if line.strip())
    options = ["--noEmit", "--strict", "--skipLibCheck", "--pretty", "false"]
    options += ["--module", "nodenext", "--moduleResolution", "nodenext", "--target", "es2022"]
    done = run(["node_modules/.bin/tsc", *options, "all.ts"], cwd=folder)
    for line in done.stdout.splitlines():
        at = line.split("(", 1)
        if at[0] == "all.ts" and len(at) == 2:
            name, document = documents[(int(at[1].split(",", 1)[0]) - 1) // 2]
            line = f"{name}: {document['kind']} {document['metadata']['name']}: {line.split(': ', 2)[-1]}"
        mistakes.append(line)
    kinds = sorted({document["kind"] for _, document in documents})
    print(f"{len(documents)} custom resources: {', '.join(kinds)}")


# What no schema knows


def together(name, documents):
    """Whether the documents of one build fit each other."""
    of = lambda kind: [document for document in documents if document["kind"] == kind]
    [deployment] = of("Deployment")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    [container] = pod["spec"]["containers"]
    ports = {port["name"]: port for port in container["ports"]}
    for service in of("Service"):
        if not service["spec"]["selector"].items() <= labels:
            continue
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                wrong(name, f"Service {service['metadata']['name']}: no port {port['targetPort']} of the pod")
    for monitor in of("PodMonitor"):
        if not monitor["spec"]["selector"]["matchLabels"].items() <= labels:
            wrong(name, "the PodMonitor does not select the pods")
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint["port"] not in ports:
                wrong(name, f"PodMonitor: no port {endpoint['port']} of the pod")
    for policy in of("NetworkPolicy"):
        open_ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        for port in ports.values():
            if port["containerPort"] not in open_ports:
                wrong(name, f"NetworkPolicy: nobody may reach port {port['containerPort']}")
    namespace = deployment["metadata"].get("namespace", "default")
    for certificate in of("Certificate"):
        if f"pgweir.{namespace}.svc" not in certificate["spec"]["dnsNames"]:
            wrong(name, f"the Certificate does not name the service in {namespace}")
        secrets = [volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume]
        if name.startswith("overlays/") and certificate["spec"]["secretName"] not in secrets:
            wrong(name, "the Certificate's secret is not mounted")
    adapter = (HERE / "components/autoscaler/prometheus-adapter.yaml").read_text()
    for autoscaler in of("HorizontalPodAutoscaler"):
        for metric in autoscaler["spec"]["metrics"]:
            if metric["type"] == "Pods" and f"as: {metric['pods']['metric']['name']} " not in adapter:
                wrong(name, f"prometheus-adapter.yaml has no {metric['pods']['metric']['name']}")
    if name.endswith("kubernetes-1.29") and "sleep" in container["lifecycle"]["preStop"]:
        wrong(name, "`preStop.sleep` is not of Kubernetes 1.29")


def configuration(name, documents, program, scratch):
    """What the pod would read: file, environment and mounted secrets, checked by pgweir itself."""
    [deployment] = [document for document in documents if document["kind"] == "Deployment"]
    [text] = [document["data"]["pgweir.toml"] for document in documents if "pgweir.toml" in document.get("data", {})]
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    folder = scratch / "configurations" / name.replace("/", "-")
    folder.mkdir(parents=True)
    environment = {variable["name"]: variable["value"] for variable in container.get("env", [])}
    secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
    for mount in container["volumeMounts"]:
        if mount["name"] not in secrets:
            continue
        place = folder / mount["name"]
        place.mkdir()
        for item in secrets[mount["name"]]["items"]:
            made = {"tls.key": "key.pem", "tls.crt": "cert.pem", "ca.crt": "cert.pem"}.get(item["key"])
            if made:
                shutil.copy(scratch / made, place / item["path"])
            else:
                (place / item["path"]).write_text("0123456789abcdef\n")
            (place / item["path"]).chmod(secrets[mount["name"]].get("defaultMode", 0o644))
        text = text.replace(f"{mount['mountPath']}/", f"{place}/")
        environment = {key: value.replace(f"{mount['mountPath']}/", f"{place}/") for key, value in environment.items()}
    file = folder / "pgweir.toml"
    file.write_text(text)
    done = run([program, "check", "--offline", "--config", str(file)], env=environment)
    said = (done.stdout + done.stderr).splitlines()
    # The metrics are open within the cluster, as the README says: components/network-policy keeps others off.
    warnings = [line for line in said if " warning: " in line and "the status page and the metrics" not in line]
    for line in said if done.returncode else warnings:
        wrong(name, f"pgweir check: {line}")


def certificate(scratch):
    """A certificate for `pgweir check` to read."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=pgweir", "-addext", "subjectAltName=DNS:pgweir"]
    return shutil.which("openssl") and not run([*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=scratch).returncode


def prometheus(scratch):
    if not shutil.which("promtool"):
        print("rules: left out, there is no promtool")
        return
    import yaml

    folder = HERE / "components/monitoring"
    for name in ["prometheus-rule.yaml", "prometheus-rule-pods.yaml"]:
        file = scratch / "rules.yml"
        file.write_text(yaml.safe_dump(yaml.safe_load((folder / name).read_text())["spec"]))
        done = run(["promtool", "check", "rules", str(file)])
        if done.returncode:
            wrong(name, (done.stdout + done.stderr).strip())
    shutil.copy(folder / "pods_test.yml", scratch)
    done = run(["promtool", "test", "rules", "pods_test.yml"], cwd=scratch)
    if done.returncode:
        wrong("pods_test.yml", (done.stdout + done.stderr).strip())
    print("rules (promtool)")


def main():
    if sys.argv[1:] == ["--write"]:
        for path, text in copies().items():
            path.write_text(text)
        return
    import yaml

    program = sys.argv[1] if len(sys.argv) > 1 else None
    for path, text in copies().items():
        if not path.exists() or path.read_text() != text:
            wrong(path.relative_to(ROOT), "is not what its original says; run deploy/kubernetes/check.py --write")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if program and not certificate(scratch):
            print("configurations: left out, openssl makes no certificate")
            program = None
        elif not program:
            print("configurations: left out, there is no pgweir (cargo build --release, or PGWEIR=…)")
        customs, count = [], 0
        for name, text in built(scratch):
            documents = [document for document in yaml.safe_load_all(text) if document]
            for document in documents:
                if document["apiVersion"] in MODULES:
                    customs.append((name, document))
                else:
                    core(name, document)
                    count += 1
            together(name, documents)
            if program:
                configuration(name, documents, program, scratch)
        print(f"{count} resources against Kubernetes {' and '.join(VERSIONS)}")
        if program:
            print(f"configurations ({program} check)")
        custom(customs)
        prometheus(scratch)
    if mistakes:
        sys.exit("\n".join(str(mistake) for mistake in mistakes))


if __name__ == "__main__":
    main()
