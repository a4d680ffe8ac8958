package peer;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.provider.IJpaSystemProvider;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;

/** HAPI FHIR JPA, R4, in memory, on a free port of loopback; says `ready PORT` on stdout and ends with its stdin. */
public class Main {
  public static void main(String[] args) throws Exception {
    AnnotationConfigApplicationContext beans = new AnnotationConfigApplicationContext(Config.class);
    // rest.setInterceptorService(...) with the storage's registry would call each storage hook twice
    RestfulServer rest = new RestfulServer(beans.getBean(FhirContext.class));
    rest.registerProviders(beans.getBean(ResourceProviderFactory.class).createProviders());
    rest.registerProvider(beans.getBean(IJpaSystemProvider.class));
    rest.setPagingProvider(beans.getBean(DatabaseBackedPagingProvider.class));
    rest.setServerConformanceProvider(new JpaCapabilityStatementProvider(
        rest, beans.getBean(IFhirSystemDao.class), beans.getBean(JpaStorageSettings.class),
        beans.getBean(ISearchParamRegistry.class), beans.getBean(IValidationSupport.class)));

    Server server = new Server();
    ServerConnector loopback = new ServerConnector(server);
    loopback.setHost("127.0.0.1");
    server.addConnector(loopback);
    ServletContextHandler root = new ServletContextHandler("/");
    root.addServlet(new ServletHolder(rest), "/fhir/*");
    server.setHandler(root);
    server.start();
    System.out.println("ready " + loopback.getLocalPort());
    while (System.in.read() != -1) { }  // whoever started this has gone
    System.exit(0);
  }
}
