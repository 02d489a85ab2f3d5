# AutoDelta on a machine with NVIDIA GPUs. The same install as `make install`, without the tools of development.
#   docker build -t autodelta .
#   docker run --gpus all -v "$PWD/runs:/home/autodelta/runs" autodelta search --task demo/entailment --budget 30min
FROM nvidia/cuda:13.0.2-runtime-ubuntu24.04

# `ray up` copies files into the container and opens nodes from the head's; KubeRay looks with wget whether a pod is well.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make python3 python3-venv openssh-client rsync wget \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/autodelta
COPY Makefile pyproject.toml constraints.txt README.md LICENSE ./
COPY autodelta autodelta
COPY search_spaces search_spaces
RUN PIP_NO_CACHE_DIR=1 make install VENV=/opt/venv PACKAGE="'.[ray]' boto3"

# The user has the number 1000, as the first user of most machines, whose runs' folder is mounted; Ubuntu's own had it.
RUN userdel --remove ubuntu \
    && useradd --create-home --uid 1000 autodelta \
    && install --directory --owner=autodelta /home/autodelta/runs
USER autodelta
WORKDIR /home/autodelta
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
VOLUME /home/autodelta/runs

ENTRYPOINT ["autodelta"]
CMD ["--help"]
